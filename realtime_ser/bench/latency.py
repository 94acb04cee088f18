"""How long after the end of speech the answer comes, and where the time goes.

Paced: utterances are played into the live driver at the pace of a microphone, and the ledger that
comes with each final is read; nothing is timed beside it. Compute-unaware: the models answer at
once and cost nothing, so what is left is the wait that the policy of endpointing makes (the name
is that of simultaneous translation: Ma et al. 2020, arXiv:2007.16193).

Rows take turns, a few utterances each, so that what else the machine does slows all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from realtime_ser.bench.material import Material, conversation
from realtime_ser.config import SPECS, Scope, Settings
from realtime_ser.core.events import EmotionFinal, EmotionPartial, Event
from realtime_ser.errors import ConfigError
from realtime_ser.io.file import paced
from realtime_ser.models.speech import create_speech_detector
from realtime_ser.recognizer import Recognizer
from realtime_ser.runtime.arrival import ArrivalClock
from realtime_ser.runtime.live import run_live
from realtime_ser.runtime.offline import AudioClock, run_offline
from realtime_ser.runtime.stream import Stream, StreamDescription
from realtime_ser.types import (
    SAMPLE_RATE_HZ,
    Affect,
    Analysis,
    AnalysisJob,
    ClosedBy,
    Emotion,
    Transcription,
)

RANDOM = "random-"
"""Before a size of Whisper: random weights of that size, with the tokens of the speech there is."""

_AFTER_HANGOVER_S = 0.8
"""Silence after the endpoint decision: long enough for any final that is worth its name."""

_TURN_UTTERANCES = 4


@dataclass(frozen=True, slots=True)
class Case:
    """One row: settings, and what is said."""

    settings: Settings
    utterance_s: float
    varied: Mapping[str, Any]


@dataclass(slots=True)
class Observed:
    """What was seen of one case, in ms.

    Attributes:
        samples: by measure, one value an utterance or a partial; see `MEASURES`.
        parts: of the ledger's critical path, by part, one value an utterance.
        compute: by stage, one value an utterance.
    """

    samples: dict[str, list[float]] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)
    compute: dict[str, list[float]] = field(default_factory=dict)
    utterances: int = 0
    missed: int = 0
    providers: tuple[str, ...] = ()
    asr: str = "off"


MEASURES = {
    "end_of_speech_to_final": "from the last speech frame to the final, by the ledger",
    "after_endpoint": "... from the endpoint decision",
    "felt": "... from where the recording's speech really ends",
    "partial_lag": "from the last sample that a partial heard to the partial",
    "first_estimate": "from where the recording's speech really begins to the first partial",
}


class InstantAnalyzer:
    """Answers without looking: what remains is policy."""

    _labels = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")

    def analyze(self, jobs: Sequence[AnalysisJob]) -> list[Analysis]:
        """One and the same estimate for all jobs."""
        emotion = Emotion(self._labels, (0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1))
        affect = Affect(0.5, 0.5, 0.5)
        return [Analysis(job.id, None, emotion, affect, 0.4, False, ("audio",)) for job in jobs]

    def transcribe(self, jobs: Sequence[AnalysisJob]) -> list[Transcription]:
        """No words for any of them."""
        return [Transcription(job.id, None) for job in jobs]


def cases(
    settings: Settings, varied: Mapping[str, Sequence[Any]], lengths_s: Sequence[float]
) -> list[Case]:
    """All combinations of the varied settings and the lengths of utterances.

    Raises:
        ConfigError: a combination that the settings do not allow.
    """
    names = list(varied)
    return [
        Case(
            replace(settings, **dict(zip(names, values, strict=True))),
            length,
            dict(zip(names, values, strict=True)),
        )
        for values in itertools.product(*varied.values())
        for length in lengths_s
    ]


def measure_paced(wanted: Sequence[Case], utterances: int, work: Path) -> list[Observed]:
    """Play `utterances` of each case at the pace of a microphone.

    Args:
        work: a folder for random models.
    """
    found = [Observed() for _ in wanted]
    with _Recognizers(work) as recognizers:
        loaded = [recognizers.get(case) for case in wanted]
        for turn in range(math.ceil(utterances / _TURN_UTTERANCES)):
            count = min(_TURN_UTTERANCES, utterances - turn * _TURN_UTTERANCES)
            for case, recognizer, observed in zip(wanted, loaded, found, strict=True):
                material = _material(case, count, turn)
                events = asyncio.run(_play(recognizer, case.settings, material))
                _observe(observed, material, events)
                observed.providers = recognizer.description.providers
                asr = recognizer.description.asr
                observed.asr = case.settings.asr if Path(asr).is_dir() else asr
    return found


def measure_unaware(wanted: Sequence[Case], utterances: int) -> list[Observed]:
    """The same, as fast as it goes, with models that cost nothing."""
    found = []
    for case in wanted:
        observed = Observed(asr="not run")
        material = _material(case, utterances, 0)
        description = StreamDescription(bundle={}, providers=(), asr="off")
        stream = Stream("bench", case.settings, create_speech_detector, description, AudioClock())
        events = run_offline(material.blocks(), stream, InstantAnalyzer())
        _observe(observed, material, events)
        found.append(observed)
    return found


def as_row(case: Case, observed: Observed, *, pace: str) -> dict[str, Any]:
    """A row for the JSON."""
    asr = observed.asr
    if asr.startswith(RANDOM):
        asr += " (random weights, 3.3 tokens a second of speech)"
    return {
        "config": {"utterance_s": case.utterance_s, "pace": pace, **case.varied},
        "asr": asr,
        "providers": list(observed.providers),
        "utterances": observed.utterances,
        "missed": observed.missed,
        "samples_ms": _rounded(observed.samples),
        "critical_ms": _rounded(observed.parts),
        "compute_ms": _rounded(observed.compute),
    }


def _material(case: Case, count: int, seed: int) -> Material:
    silence_s = case.settings.hangover_ms / 1000 + _AFTER_HANGOVER_S
    return conversation(case.utterance_s, silence_s, count, seed=seed)


async def _play(recognizer: Recognizer, settings: Settings, material: Material) -> list[Event]:
    clock = ArrivalClock()
    stream = recognizer.new_stream("bench", settings, clock)
    source = paced(material.blocks())
    events = run_live(source, stream, clock, recognizer.worker, recognizer.intake, asyncio.Event())
    return [event async for event in events]


def _observe(observed: Observed, material: Material, events: Iterable[Event]) -> None:
    """Sort what was said into measures."""
    has_partial: set[int] = set()
    ended: set[int] = set()
    for event in events:
        if not isinstance(event, EmotionPartial | EmotionFinal):
            continue
        assert event.lag_ms is not None  # drivers stamp
        place = _place(material, event.audio_start, event.audio_end)
        begun, end = material.speech[place]
        if isinstance(event, EmotionPartial):
            _add(observed.samples, "partial_lag", event.lag_ms)
            if place not in has_partial:
                has_partial.add(place)
                waited = (event.audio_end - begun) * 1000 / SAMPLE_RATE_HZ
                _add(observed.samples, "first_estimate", waited + event.lag_ms)
        # Only where silence closed it did someone wait; and what ended early is no answer yet.
        elif event.closed_by is ClosedBy.SILENCE and place not in ended:
            ended.add(place)
            account = event.timings
            assert account is not None  # drivers stamp
            whole = account.end_of_speech_to_emit
            _add(observed.samples, "end_of_speech_to_final", whole)
            _add(observed.samples, "after_endpoint", whole - account.critical["hangover"])
            felt = (event.audio_end - end) * 1000 / SAMPLE_RATE_HZ + event.lag_ms
            _add(observed.samples, "felt", felt)
            for name, value in account.critical.items():
                _add(observed.parts, name, value)
            for name, value in account.compute.items():
                _add(observed.compute, name, value)
    observed.utterances += len(ended)
    observed.missed += len(material.speech) - len(ended)


def _place(material: Material, start: int, end: int) -> int:
    """The utterance of the material that an event speaks of: the one it shares most with."""
    shared = [min(end, last) - max(start, first) for first, last in material.speech]
    return shared.index(max(shared))


def _add(table: dict[str, list[float]], name: str, value: float) -> None:
    table.setdefault(name, []).append(value)


def _rounded(table: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(value, 3) for value in values] for name, values in table.items()}


class _Recognizers(contextlib.ExitStack):
    """One recognizer for all cases that differ only in what a session may set for itself."""

    def __init__(self, work: Path) -> None:
        super().__init__()
        self._work = work
        self._loaded: dict[tuple[Any, ...], Recognizer] = {}

    def get(self, case: Case) -> Recognizer:
        asr = resolve_asr(case.settings.asr, case.utterance_s, self._work)
        settings = replace(case.settings, asr=asr)
        key = tuple(
            getattr(settings, name)
            for name, spec in SPECS.items()
            if spec.scope is not Scope.SESSION
        )
        if key not in self._loaded:
            self._loaded[key] = self.enter_context(Recognizer(settings))
        return self._loaded[key]


def resolve_asr(asr: str, utterance_s: float, work: Path) -> str:
    """The folder of a random model, built in `work` if need be; any other name as it is.

    Raises:
        ConfigError: there is no such size.
    """
    if not asr.startswith(RANDOM):
        return asr
    # ctranslate2.specs loads torch where there is one: 150 MiB for those that want other models
    from realtime_ser.bench.random_whisper import SIZES, build_speaking_whisper

    size = asr.removeprefix(RANDOM)
    if size not in SIZES:
        known = ", ".join(RANDOM + name for name in SIZES)
        raise ConfigError(f"no random transcription model {asr!r}; there are {known}")
    folder = work / f"{asr}-{utterance_s:g}s"
    if not folder.exists():
        build_speaking_whisper(folder, size, utterance_s)
    return str(folder)


def parse_varied(texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """`["asr=off,mini"]` to values by setting.

    Raises:
        ConfigError: no setting, or no values of it.
    """
    return dict(_parse_one(text) for text in texts)


def _parse_one(text: str) -> tuple[str, tuple[Any, ...]]:
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in SPECS:
        raise ConfigError(
            f"--vary takes SETTING=VALUE,VALUE such as speculation=true,false, not {text!r}; "
            "`realtime-ser config` lists the settings"
        )
    return name, tuple(SPECS[name].parse(value.strip(), text) for value in values.split(","))
