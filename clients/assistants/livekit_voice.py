"""A LiveKit agent that hears how its user feels.

    pip install 'livekit-agents[openai,silero]>=1.8' ./clients/python
    realtime-ser serve
    OPENAI_API_KEY=... python clients/assistants/livekit_voice.py console

`console` talks through this machine's microphone; `dev` and `start` join the rooms of the LiveKit
server that LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET name. REALTIME_SER_URL says where
the realtime-ser server is, REALTIME_SER_TOKEN what it asks for.
"""

from __future__ import annotations

import logging
import os

from livekit.agents import AgentServer, AgentSession, JobContext, cli
from livekit.plugins import openai, silero

from realtime_ser_client.errors import ClientError
from realtime_ser_client.listener import Listener
from realtime_ser_client.livekit import EmotionAgent

INSTRUCTIONS = (
    "You are a kind voice assistant; answer in a sentence or two. A line in brackets at the end of "
    "a message says how the speaker sounded, with how likely that is. Let it guide your tone, do "
    "not mention it, and trust a low number little."
)

server = AgentServer()


async def warn(error: ClientError) -> None:
    """Say why there are no lines; the conversation goes on without."""
    logging.warning("no emotion: %s", error)


@server.rtc_session()
async def talk(context: JobContext) -> None:
    """One conversation."""
    listener = Listener(
        os.environ.get("REALTIME_SER_URL", "ws://127.0.0.1:8765"),
        token=os.environ.get("REALTIME_SER_TOKEN"),
        on_error=warn,
    )
    session: AgentSession[None] = AgentSession(
        stt=openai.STT(),
        llm=openai.LLM(),
        tts=openai.TTS(),
        vad=silero.VAD.load(),
        # what was generated ahead did not know how the user sounds
        turn_handling={"preemptive_generation": {"enabled": False}},
    )
    agent = EmotionAgent(instructions=INSTRUCTIONS, emotion=listener)
    await session.start(agent, room=context.room)


if __name__ == "__main__":
    cli.run_app(server)
