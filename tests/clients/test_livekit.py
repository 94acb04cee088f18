"""The LiveKit agent in a real AgentSession, with the real server; models that are scripted."""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import pieces, sample, serving

from realtime_ser.recognizer import Recognizer
from realtime_ser_client import Event
from realtime_ser_client.listener import Listener

with warnings.catch_warnings():
    # of what livekit imports
    warnings.simplefilter("ignore", DeprecationWarning)
    pytest.importorskip("livekit.agents", reason="the package livekit-agents is not installed")
    from livekit import rtc
    from livekit.agents import AgentSession, llm, stt
    from livekit.agents.voice.io import AudioInput

    from realtime_ser_client.livekit import EmotionAgent

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LINE = r"\[speaker: \w+, 0\.\d\d; arousal (low|medium|high); \d\.\d s heard\]"
PCM = sample().astype("<i2").tobytes()


class ScriptedSTT(stt.STT):
    """Says "I see." once it has heard the whole recording."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *args: Any, **options: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(self, *, conn_options: Any, **options: Any) -> stt.RecognizeStream:
        return ScriptedSTTStream(stt=self, conn_options=conn_options)


class ScriptedSTTStream(stt.RecognizeStream):
    async def _run(self) -> None:
        heard = 0
        async for frame in self._input_ch:
            if isinstance(frame, rtc.AudioFrame):
                heard += frame.samples_per_channel
                if heard == len(PCM) // 2:
                    said = [stt.SpeechData(language="en", text="I see.")]
                    kind = stt.SpeechEventType.FINAL_TRANSCRIPT
                    self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=said))


class ScriptedLLM(llm.LLM):
    """Answers "Yes.", and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: asyncio.Queue[llm.ChatContext] = asyncio.Queue()

    def chat(self, *, chat_ctx: llm.ChatContext, **options: Any) -> llm.LLMStream:
        self.asked.put_nowait(chat_ctx.copy())
        return ScriptedLLMStream(
            self, chat_ctx=chat_ctx, tools=[], conn_options=options["conn_options"]
        )


class ScriptedLLMStream(llm.LLMStream):
    async def _run(self) -> None:
        delta = llm.ChoiceDelta(role="assistant", content="Yes.")
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


class Microphone(AudioInput):
    """Plays the recording, then is silent for good."""

    def __init__(self) -> None:
        super().__init__(label="recording")
        self._pieces = iter(pieces(PCM, 320))

    async def __anext__(self) -> rtc.AudioFrame:
        if (piece := next(self._pieces, None)) is None:
            await asyncio.Event().wait()
        assert piece is not None
        return rtc.AudioFrame(piece, 16_000, 1, len(piece) // 2)


async def ask(address: str, until: str) -> list[Any]:
    """The content of the message that the model gets after the server has said `until`."""
    heard = asyncio.Event()

    async def on_event(event: Event) -> None:
        if event.type == until:
            heard.set()

    async def on_error(error: Exception) -> None:
        assert "cannot connect" in str(error)
        if until == "failure":
            heard.set()

    model = ScriptedLLM()
    agent = EmotionAgent(
        instructions="Be kind.",
        emotion=Listener(address, on_event=on_event, on_error=on_error),
    )
    session: AgentSession[None] = AgentSession(
        stt=ScriptedSTT(), llm=model, vad=None, turn_handling={"turn_detection": "manual"}
    )
    transcribed = asyncio.Event()
    session.on("user_input_transcribed", lambda event: transcribed.set())
    session.input.audio = Microphone()
    await session.start(agent)
    await heard.wait()
    await transcribed.wait()
    session.commit_user_turn(transcript_timeout=0.1, stt_flush_duration=0.0)
    context = await model.asked.get()
    await session.aclose()
    assert agent.emotion._task is None
    message = context.items[-1]
    assert isinstance(message, llm.ChatMessage)
    assert message.role == "user"
    return list(message.content)


@pytest.fixture(scope="module")
def hearing() -> Iterator[Recognizer]:
    """A recognizer that is sure of itself."""
    with Recognizer(asr="off", threads=1) as recognizer:
        yield recognizer


def test_the_users_message_says_how_it_sounded(hearing: Recognizer) -> None:
    async def scenario() -> list[Any]:
        async with serving(hearing) as served:
            return await ask(served.address, until="emotion.final")

    text, line = asyncio.run(scenario())
    assert text == "I see."
    assert re.fullmatch(LINE, line)


def test_where_the_recognizer_abstains_there_is_no_line(small_bundle: Path) -> None:
    async def scenario() -> list[Any]:
        with Recognizer(bundle=str(small_bundle), asr="off", threads=1) as unsure:
            async with serving(unsure) as served:
                return await ask(served.address, until="emotion.final")

    assert asyncio.run(scenario()) == ["I see."]


def test_without_a_server_the_conversation_goes_on() -> None:
    async def scenario() -> list[Any]:
        async with asyncio.timeout(60):
            return await ask("ws://127.0.0.1:1", until="failure")

    assert asyncio.run(scenario()) == ["I see."]
