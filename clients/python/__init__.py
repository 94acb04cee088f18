"""Client of a `realtime-ser` server: send speech, get emotion while the person is still talking.

    async with realtime_ser_client.connect("ws://127.0.0.1:8765") as session:
        ...
        await session.send(samples)
        ...
        async for event in session:
            ...

`realtime_ser_client.sync` is the same without `await`. It needs websockets and nothing else; the
protocol is in clients/PROTOCOL.md.
"""

from __future__ import annotations

from realtime_ser_client.backoff import Backoff
from realtime_ser_client.errors import (
    ClientError,
    ConnectError,
    ConnectionLostError,
    ServerError,
    SessionEndedError,
)
from realtime_ser_client.events import (
    Affect,
    Emotion,
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    RollingUpdate,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    SessionUpdated,
    Transcript,
    TranscriptFinal,
    TranscriptPartial,
    UnknownEvent,
    UtteranceEnd,
    UtteranceStart,
    WarningEvent,
    parse_event,
)
from realtime_ser_client.prompt import Turn, prompt_line
from realtime_ser_client.session import Session, connect

__version__ = "0.1.0"

__all__ = [
    "Affect",
    "Backoff",
    "ClientError",
    "ConnectError",
    "ConnectionLostError",
    "Emotion",
    "EmotionFinal",
    "EmotionPartial",
    "ErrorEvent",
    "Event",
    "RollingUpdate",
    "ServerError",
    "Session",
    "SessionClosed",
    "SessionCreated",
    "SessionEndedError",
    "SessionResumed",
    "SessionUpdated",
    "Transcript",
    "TranscriptFinal",
    "TranscriptPartial",
    "Turn",
    "UnknownEvent",
    "UtteranceEnd",
    "UtteranceStart",
    "WarningEvent",
    "connect",
    "parse_event",
    "prompt_line",
]
