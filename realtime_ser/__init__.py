"""Real-time speech emotion recognition: transcript, emotion and affect while someone speaks.

    from realtime_ser import Recognizer

    for utterance in Recognizer(asr="off").recognize("call.wav"):
        print(utterance.start_s, utterance.label, utterance.confidence)

`Recognizer` is the way in; `Settings` is what can be set; the events that it yields are those of
`realtime_ser.core.events`, and what they carry is in `realtime_ser.types`. Everything that is
raised on purpose is a `RealtimeSERError`.
"""

from realtime_ser.config import Settings
from realtime_ser.core.events import (
    EmotionFinal,
    EmotionPartial,
    ErrorEvent,
    Event,
    Ledger,
    RollingUpdate,
    SessionClosed,
    SessionCreated,
    TranscriptFinal,
    TranscriptPartial,
    UtteranceEnd,
    UtteranceStart,
    WarningEvent,
)
from realtime_ser.core.wire import event_to_json, event_to_wire
from realtime_ser.errors import (
    AudioDeviceError,
    AudioError,
    AudioUnsupportedError,
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    ConfigError,
    InferenceError,
    ModelUnavailableError,
    ProtocolError,
    RealtimeSERError,
)
from realtime_ser.recognizer import Recognizer, UtteranceResult
from realtime_ser.runtime.ports import AudioBlock
from realtime_ser.types import (
    SAMPLE_RATE_HZ,
    Affect,
    ClosedBy,
    Emotion,
    RollingEstimate,
    Transcript,
    Word,
)
from realtime_ser.version import __version__

__all__ = [
    "SAMPLE_RATE_HZ",
    "Affect",
    "AudioBlock",
    "AudioDeviceError",
    "AudioError",
    "AudioUnsupportedError",
    "BundleError",
    "BundleFormatError",
    "BundleIntegrityError",
    "BundleNotFoundError",
    "ClosedBy",
    "ConfigError",
    "Emotion",
    "EmotionFinal",
    "EmotionPartial",
    "ErrorEvent",
    "Event",
    "InferenceError",
    "Ledger",
    "ModelUnavailableError",
    "ProtocolError",
    "RealtimeSERError",
    "Recognizer",
    "RollingEstimate",
    "RollingUpdate",
    "SessionClosed",
    "SessionCreated",
    "Settings",
    "Transcript",
    "TranscriptFinal",
    "TranscriptPartial",
    "UtteranceEnd",
    "UtteranceResult",
    "UtteranceStart",
    "WarningEvent",
    "Word",
    "__version__",
    "event_to_json",
    "event_to_wire",
]
