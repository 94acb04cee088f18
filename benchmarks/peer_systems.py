"""The systems of `benchmarks.peers`: each plays sentences to one of them and notes its waits.

All are asked for English, int8 and a beam of 1 where they let us choose, and end an utterance after
`HANGOVER_S` of silence where they have such a setting; everything else is as they come. What they
load is imported here and nowhere else, in a process of their own.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from realtime_ser.bench.material import Material, single_sentences
from realtime_ser.config import Settings
from realtime_ser.core.events import TranscriptFinal, TranscriptPartial
from realtime_ser.io.file import paced
from realtime_ser.recognizer import Recognizer
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.live import run_live
from realtime_ser.types import SAMPLE_RATE_HZ

OURS, OURS_EARLY = "realtime-ser", "realtime-ser, partial_transcripts"
OFFLINE = "realtime-ser, offline driver, no speculation"
TEXT, STOPS, COMPLETED, SHOWN = "text", "it stops recording", "completed", "shown"
IN_PAUSE = "shown in the pause"
HANGOVER_S = 0.5

_CHUNK_S = 0.02
_LEAD_IN_S = 0.5
_TAIL = SAMPLE_RATE_HZ
"""Where our segmenter ends an utterance may lie before where the recording does, by frames."""
_REALTIME_STT_SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "compute_type": "int8",
    "language": "en",
    "beam_size": 1,
    "use_microphone": False,
    "spinner": False,
    "post_speech_silence_duration": HANGOVER_S,
    "no_log_file": True,
}

Waits = dict[str, list[float]]
"""By what happened then (`TEXT`, ...): ms from where the recording's speech ended."""

Piece = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class System:
    """One of them.

    Attributes:
        package: as the package index names it.
        run: plays sentences to it, with the transcription model of a folder.
        silence_s: after each sentence, more than it takes to answer.
    """

    package: str
    run: Callable[[Material, str], Waits]
    silence_s: float

    def material(self, sentences: int) -> Material:
        """What it hears: the same sentences for all."""
        return single_sentences(self.silence_s, sentences, lead_in_s=_LEAD_IN_S)


def ours(material: Material, folder: str) -> Waits:
    """To `transcript.final`, live."""
    return {TEXT: [final for final, _ in _live_waits(material, _settings(folder))]}


def ours_early(material: Material, folder: str) -> Waits:
    """To the words that are told in the pause that turns out to be the last."""
    waits = _live_waits(material, _settings(folder, partial_transcripts=True))
    return {IN_PAUSE: [shown for _, shown in waits]}


def _live_waits(material: Material, settings: Settings) -> list[tuple[float, float]]:
    """Of each utterance: ms to its text, and to the words of its pause, if those were told."""
    waits: list[tuple[float, float]] = []

    async def run(recognizer: Recognizer) -> None:
        clock = ArrivalClock()
        stream = recognizer.new_stream("peers", recognizer.settings, clock)
        shown: tuple[int, float] = (-1, 0.0)
        started_s = time.perf_counter()
        events = run_live(
            paced(material.blocks()),
            stream,
            clock,
            recognizer.worker,
            recognizer.intake,
            asyncio.Event(),
        )
        async for event in events:
            now_s = time.perf_counter() - started_s
            if isinstance(event, TranscriptPartial):
                shown = event.audio_end, now_s
            elif isinstance(event, TranscriptFinal):
                end_s = _end_before(material, event.audio_end + _TAIL) / SAMPLE_RATE_HZ
                # of the same audio they are the same words
                early_s = shown[1] if shown[0] == event.audio_end else now_s
                waits.append(((now_s - end_s) * 1000, (early_s - end_s) * 1000))

    with Recognizer(settings) as recognizer:
        asyncio.run(run(recognizer))
    return waits


def offline(material: Material, folder: str) -> Waits:
    """The same by the offline driver: one job after the other, when the utterance has ended."""
    waits = []
    with Recognizer(_settings(folder, speculation=False)) as recognizer:
        for event in recognizer.events(material.blocks()):
            if isinstance(event, TranscriptFinal):
                end = _end_before(material, event.audio_end + _TAIL)
                assert event.lag_ms is not None  # drivers stamp
                waits.append((event.audio_end - end) * 1000 / SAMPLE_RATE_HZ + event.lag_ms)
    return {TEXT: waits}


def _settings(folder: str, **more: Any) -> Settings:
    return Settings(asr=folder, language="en", hangover_ms=round(HANGOVER_S * 1000), **more)


def realtime_stt(material: Material, folder: str, **more: Any) -> Waits:
    """RealtimeSTT's recorder, fed as its documentation feeds it without a microphone.

    An empty text counts as an answer: it took as long.
    """
    from RealtimeSTT import AudioToTextRecorder

    stopped_s: list[float] = []
    recorder = AudioToTextRecorder(
        model=folder,
        on_recording_stop=lambda: stopped_s.append(time.perf_counter()),
        **_REALTIME_STT_SETTINGS,
        **more,
    )
    told_s: list[float] = []

    def listen() -> None:
        for _ in material.speech:
            recorder.text()
            told_s.append(time.perf_counter())

    # told from another thread, as a program would
    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    time.sleep(1.0)
    started_s = _feed(material.samples, lambda piece: recorder.feed_audio(piece.tobytes()))
    listening.join(5.0)
    threading.Thread(target=recorder.shutdown, daemon=True).start()
    return {
        name: _since_speech(material, [at_s - started_s for at_s in times])
        for name, times in ((TEXT, told_s), (STOPS, stopped_s))
    }


def realtime_stt_early(material: Material, folder: str) -> Waits:
    """RealtimeSTT told to transcribe before the silence is over, as our speculation does."""
    return realtime_stt(material, folder, early_transcription_on_silence=0.15)


def whisper_live(material: Material, folder: str) -> Waits:
    """WhisperLive's server, and a client for each sentence that notes when it is completed.

    Not one for all: a segment whose text is that of the last one is never called completed, and the
    random model always says the same.
    """
    from whisper_live.server import TranscriptionServer

    port = 9713
    server = TranscriptionServer()
    threading.Thread(
        target=lambda: server.run(
            "127.0.0.1",
            port=port,
            backend="faster_whisper",
            faster_whisper_custom_model_path=folder,
            single_model=True,
        ),
        daemon=True,
    ).start()
    waits: Waits = {COMPLETED: [], SHOWN: []}
    lead_in = material.speech[0][0]
    silence = len(material.samples) - material.speech[-1][1]
    for number, (begun, end) in enumerate(material.speech):
        spoken = material.samples[begun - lead_in : end + silence]
        heard = _whisper_live_sentence(f"ws://127.0.0.1:{port}", folder, number, spoken)
        ended_s = (lead_in + end - begun) / SAMPLE_RATE_HZ
        final = next(((at_s, said) for at_s, said, done in heard if done and at_s > ended_s), None)
        if final is not None:
            waits[COMPLETED].append((final[0] - ended_s) * 1000)
            shown_s = min(at_s for at_s, said, _ in heard if at_s >= ended_s and said == final[1])
            waits[SHOWN].append((shown_s - ended_s) * 1000)
    return waits


def _whisper_live_sentence(
    address: str, folder: str, number: int, spoken: Piece
) -> list[tuple[float, str, bool]]:
    """What was sent of the last segment: seconds since the audio began, text, completed."""
    from websockets.sync.client import connect

    heard: list[tuple[float, str, bool]] = []
    completed = threading.Event()
    with _connected(lambda: connect(address, max_size=None)) as websocket:
        options = {"uid": f"peer{number}", "language": "en", "task": "transcribe", "model": folder}
        websocket.send(json.dumps(options | {"use_vad": True}))
        while json.loads(websocket.recv()).get("message") != "SERVER_READY":
            pass
        started_s = time.perf_counter()

        def read() -> None:
            for text in websocket:
                segments = json.loads(text).get("segments")
                if segments:
                    last, now_s = segments[-1], time.perf_counter() - started_s
                    heard.append((now_s, last["text"], last["completed"]))
                    if last["completed"]:
                        completed.set()

        threading.Thread(target=read, daemon=True).start()
        _feed(
            spoken,
            lambda piece: websocket.send((piece / np.float32(32768)).astype("<f4").tobytes()),
            completed,
        )
    return heard


def _connected(connect: Callable[[], Any]) -> Any:
    for _ in range(300):
        try:
            return connect()
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("its server does not listen")


def _feed(
    samples: Piece, send: Callable[[Piece], object], enough: threading.Event | None = None
) -> float:
    """Send the samples at their pace, until there was `enough`; returns when it began."""
    size = round(_CHUNK_S * SAMPLE_RATE_HZ)
    started_s = time.perf_counter()
    for start in range(0, len(samples), size):
        if enough is not None and enough.is_set():
            break
        piece = samples[start : start + size]
        due_s = started_s + (start + len(piece)) / SAMPLE_RATE_HZ
        time.sleep(max(0.0, due_s - time.perf_counter()))
        send(piece)
    return started_s


def _since_speech(material: Material, times_s: list[float]) -> list[float]:
    """ms since the end of the sentence before each time; what came before any is left out."""
    ends = [(at_s, _end_before(material, round(at_s * SAMPLE_RATE_HZ))) for at_s in times_s]
    return [(at_s - end / SAMPLE_RATE_HZ) * 1000 for at_s, end in ends if end]


def version(package: str) -> str:
    """A space and the version that is installed; nothing where it is not."""
    try:
        return f" {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def _end_before(material: Material, sample: int) -> int:
    """The last end of speech before `sample`; 0 if there is none."""
    return max((end for _, end in material.speech if end <= sample), default=0)


SYSTEMS = {
    OURS: System("realtime-ser", ours, 1.3),
    OURS_EARLY: System("realtime-ser", ours_early, 1.3),
    OFFLINE: System("realtime-ser", offline, 1.3),
    "RealtimeSTT": System("RealtimeSTT", realtime_stt, 2.2),
    "RealtimeSTT, early_transcription_on_silence": System("RealtimeSTT", realtime_stt_early, 2.2),
    # seconds of silence pass before it calls a segment completed; no more are played then
    "WhisperLive": System("whisper-live", whisper_live, 15.0),
}
