"""Emotion for LiveKit Agents: an agent whose language model is told how the user sounded.

    agent = EmotionAgent(instructions="...", emotion=Listener("ws://127.0.0.1:8765"))
    await AgentSession(stt=..., llm=..., tts=...).start(agent, room=ctx.room)

The user's message gets a line such as `[speaker: angry, 0.71; arousal high; 3.2 s heard]`, and none
when the recognizer abstained. It comes at the end of the turn, so replies that were generated ahead
are thrown away for it: give the session `turn_handling={"preemptive_generation": {"enabled":
False}}`. The session needs an STT, whose audio this listens to; realtime models take no text of the
user, and get no line. Tested with livekit-agents 1.8.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import Agent, ModelSettings, llm, stt

from realtime_ser_client.listener import Listener


class EmotionAgent(Agent):
    """Inherit from it instead of from `Agent`; overridden methods must call those of here.

    Args:
        emotion: listens; with its `on_event` and `on_error` an application can follow.
        options: of `Agent`.
    """

    def __init__(self, *, emotion: Listener | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.emotion = emotion or Listener()

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent]:
        """Transcribe as ever, and listen along until the audio ends."""
        try:
            async for event in Agent.default.stt_node(self, self._heard(audio), model_settings):
                yield event
        finally:
            await self.emotion.close()

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        """Add the line to the user's message."""
        line = self.emotion.take_line()
        if line is not None:
            new_message.content.append(line)
        await super().on_user_turn_completed(turn_ctx, new_message)

    async def _heard(self, audio: AsyncIterable[rtc.AudioFrame]) -> AsyncIterator[rtc.AudioFrame]:
        async for frame in audio:
            self.emotion.hear(bytes(frame.data), frame.sample_rate, frame.num_channels)
            yield frame
