"""Emotion for Pipecat: a processor that tells the language model how the user sounded.

    pipeline = Pipeline([
        transport.input(),
        stt,
        context_aggregator.user(),
        EmotionProcessor("ws://127.0.0.1:8765"),
        llm,
        ...
    ])

It stands between the user's aggregator and the language model. The user's message in the context
gets a line such as `[speaker: angry, 0.71; arousal high; 3.2 s heard]`, and none when the
recognizer abstained; what the aggregator reports as the transcript stays as it was. Tested with
pipecat-ai 1.14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    SystemFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from realtime_ser_client.errors import ClientError
from realtime_ser_client.events import Event
from realtime_ser_client.listener import Listener
from realtime_ser_client.session import DEFAULT_URL


@dataclass
class EmotionFrame(SystemFrame):
    """An event of the server, for other processors; see `realtime_ser_client.events`."""

    event: Event


class EmotionProcessor(FrameProcessor):
    """Listens to the user's audio, and adds a line to the user's message.

    Pushes every event of the server downstream as an `EmotionFrame`. Where the server cannot be
    had, an error is pushed upstream (it does not end the pipeline), and attempts go on.

    Args:
        url: of the server.
        options: of `realtime_ser_client.connect`: token, ssl, settings.
    """

    def __init__(self, url: str = DEFAULT_URL, **options: Any) -> None:
        super().__init__()
        self._listener = Listener(
            url, on_event=self._push_event, on_error=self._push_failure, **options
        )

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Hear audio, add the line to contexts, and pass everything on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._listener.hear(frame.audio, frame.sample_rate, frame.num_channels)
        elif isinstance(frame, LLMContextFrame) and direction is FrameDirection.DOWNSTREAM:
            self._tell(frame)
        elif isinstance(frame, EndFrame | CancelFrame):
            await self._listener.close()
        await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """Stop listening, however the pipeline came to its end."""
        await self._listener.close()
        await super().cleanup()  # type: ignore[no-untyped-call,unused-ignore]

    def _tell(self, frame: LLMContextFrame) -> None:
        message = _last_user_message(frame.context)
        if message is None:
            return
        # a speculative context is a copy; the turn goes on until it is confirmed
        line = self._listener.line() if frame.speculation else self._listener.take_line()
        if line is None:
            return
        content = message["content"]
        if isinstance(content, str):
            message["content"] = f"{content}\n{line}"
        else:
            message["content"] = [*content, {"type": "text", "text": line}]

    async def _push_event(self, event: Event) -> None:
        await self.push_frame(EmotionFrame(event))

    async def _push_failure(self, error: ClientError) -> None:
        await self.push_error(f"no emotion: {error}", exception=error)


def _last_user_message(context: LLMContext) -> Any:
    """The message that the model is to answer; None where it is not the user's."""
    messages = context.messages
    if messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "user":
        return messages[-1]
    return None
