"""The Pipecat processor in real pipelines, with the real aggregators and the real server."""

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

with warnings.catch_warnings():
    # of what pipecat imports: audioop, as long as Python has it
    warnings.simplefilter("ignore", DeprecationWarning)
    pytest.importorskip("pipecat", reason="the package pipecat-ai is not installed")
    from pipecat.frames.frames import (
        EndFrame,
        ErrorFrame,
        Frame,
        InputAudioRawFrame,
        LLMContextFrame,
        TranscriptionFrame,
        UserStartedSpeakingFrame,
        UserStoppedSpeakingFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.aggregators.llm_response_universal import (
        LLMContextAggregatorPair,
        LLMUserAggregatorParams,
    )
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
    from pipecat.workers.runner import WorkerRunner

    from realtime_ser_client.pipecat import EmotionFrame, EmotionProcessor

LINE = r"\[speaker: \w+, 0\.\d\d; arousal (low|medium|high); \d\.\d s heard\]"
PCM = sample().astype("<i2").tobytes()


@pytest.fixture(scope="module")
def hearing() -> Iterator[Recognizer]:
    """A recognizer that is sure of itself."""
    with Recognizer(asr="off", threads=1) as recognizer:
        yield recognizer


class Model(FrameProcessor):
    """Stands where the language model does, and notes what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: asyncio.Queue[LLMContextFrame] = asyncio.Queue()
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            self.asked.put_nowait(frame)
        if isinstance(frame, EmotionFrame):
            self.heard.put_nowait(frame.event.type)
        await self.push_frame(frame, direction)

    async def hears(self, type: str) -> None:
        while await self.heard.get() != type:
            pass


class Bot:
    """A pipeline with the processor in its place."""

    def __init__(self, url: str, *before: FrameProcessor) -> None:
        self.model = Model()
        self.errors: asyncio.Queue[str] = asyncio.Queue()
        self.worker = PipelineWorker(
            Pipeline([*before, EmotionProcessor(url), self.model]),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
        )
        self.worker.set_reached_upstream_filter((ErrorFrame,))

        @self.worker.event_handler("on_frame_reached_upstream")
        async def failed(worker: Any, frame: ErrorFrame) -> None:
            self.errors.put_nowait(frame.error)

    async def run(self, script: Any) -> None:
        """Do what `script` says to the running pipeline, then end it."""
        started = asyncio.Event()

        @self.worker.event_handler("on_pipeline_started")
        async def on_started(worker: Any, frame: Frame) -> None:
            started.set()

        async def follow() -> None:
            await started.wait()
            try:
                await script()
            finally:
                await self.worker.queue_frame(EndFrame())

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        await asyncio.gather(runner.run(), follow())

    async def say(self, audio: bytes) -> None:
        for piece in pieces(audio, 640):
            frame = InputAudioRawFrame(audio=piece, sample_rate=16_000, num_channels=1)
            await self.worker.queue_frame(frame)

    async def ask(self, context: LLMContext, **options: Any) -> None:
        await self.worker.queue_frame(LLMContextFrame(context=context, **options))
        await self.model.asked.get()


def test_the_users_message_says_how_it_sounded(hearing: Recognizer) -> None:
    context = LLMContext()
    strategies = ExternalUserTurnStrategies()
    user = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(user_turn_strategies=strategies)
    ).user()
    added: list[str] = []

    @user.event_handler("on_user_turn_message_added")
    async def on_added(aggregator: Any, message: Any) -> None:
        added.append(message.content)

    async def scenario() -> None:
        async with serving(hearing) as served:
            bot = Bot(served.address, user)

            async def script() -> None:
                await bot.worker.queue_frame(UserStartedSpeakingFrame())
                await bot.say(PCM)
                await bot.model.hears("emotion.final")
                said = TranscriptionFrame("I see.", user_id="u", timestamp="now", finalized=True)
                await bot.worker.queue_frame(said)
                await bot.worker.queue_frame(UserStoppedSpeakingFrame())
                await bot.model.asked.get()

            await bot.run(script)

    asyncio.run(scenario())
    (message,) = context.messages
    assert message["role"] == "user"
    assert re.fullmatch(rf"I see\.\n{LINE}", message["content"])
    assert added == ["I see."]


def test_a_line_goes_to_one_message_and_only_to_the_users(hearing: Recognizer) -> None:
    system: Any = {"role": "system", "content": "Be kind."}
    parts: Any = {"role": "user", "content": [{"type": "text", "text": "Look."}]}
    guess: Any = {"role": "user", "content": "Lo"}
    again: Any = {"role": "user", "content": "And now?"}

    async def scenario() -> None:
        async with serving(hearing) as served:
            bot = Bot(served.address)

            async def script() -> None:
                await bot.say(PCM)
                await bot.model.hears("emotion.final")
                await bot.ask(LLMContext())
                await bot.ask(LLMContext([system]))
                await bot.ask(LLMContext([guess]), speculation=True)
                await bot.ask(LLMContext([system, parts]))
                await bot.ask(LLMContext([again]))

            await bot.run(script)

    asyncio.run(scenario())
    assert system["content"] == "Be kind."
    assert re.fullmatch(rf"Lo\n{LINE}", guess["content"])
    first, second = parts["content"]
    assert first["text"] == "Look."
    assert re.fullmatch(LINE, second["text"])
    assert again["content"] == "And now?"


def test_where_the_recognizer_abstains_there_is_no_line(small_bundle: Path) -> None:
    message: Any = {"role": "user", "content": "Well."}

    async def scenario() -> None:
        with Recognizer(bundle=str(small_bundle), asr="off", threads=1) as unsure:
            async with serving(unsure) as served:
                bot = Bot(served.address)

                async def script() -> None:
                    await bot.say(PCM)
                    await bot.model.hears("emotion.final")
                    await bot.ask(LLMContext([message]))

                await bot.run(script)

    asyncio.run(scenario())
    assert message["content"] == "Well."


def test_without_a_server_the_conversation_goes_on() -> None:
    message: Any = {"role": "user", "content": "Anybody?"}

    async def scenario() -> str:
        bot = Bot("ws://127.0.0.1:1")

        async def script() -> None:
            await bot.say(PCM[:640])
            await bot.ask(LLMContext([message]))

        async def wait_for_error() -> str:
            return await bot.errors.get()

        waiting = asyncio.create_task(wait_for_error())

        async def whole() -> None:
            await script()
            await waiting

        await bot.run(whole)
        return waiting.result()

    assert "no emotion: cannot connect" in asyncio.run(scenario())
    assert message["content"] == "Anybody?"
