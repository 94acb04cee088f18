"""The latency ledger: what the user waited for, and what it cost.

The wait runs from the last speech frame to the moment the final is emitted. Up to the endpoint
decision it is `hangover`. After that, a stage counts only as far as it runs after the decision
(speculation hides the rest) and after the stages before it (no second is counted twice); whatever
passes between stages, or before the first, is `queue`, and what passes after the last is `emit`.
So the parts add up to the whole by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

from realtime_ser.core.events import Ledger
from realtime_ser.types import Stage, StageTiming

CRITICAL_PARTS = ("hangover", "queue", *(stage.value for stage in Stage), "emit")


def ledger(
    *, speech_end_s: float, endpoint_s: float, stages: Sequence[StageTiming], emitted_s: float
) -> Ledger:
    """Account for one final; all times in seconds of one clock.

    Args:
        speech_end_s: when the last speech frame had been heard.
        endpoint_s: when the end was decided.
        stages: the stages of the analysis that became the final, in the order of their starts;
            empty when it failed.
        emitted_s: when the final left.
    """
    critical = dict.fromkeys(CRITICAL_PARTS, 0.0)
    compute: dict[str, float] = {}
    # A final cannot leave before it was decided; where two clocks meet, they may say so by a hair.
    endpoint_s = min(max(endpoint_s, speech_end_s), emitted_s)
    critical["hangover"] = endpoint_s - min(speech_end_s, emitted_s)
    accounted_s = endpoint_s
    for timing in stages:
        compute[timing.stage] = compute.get(timing.stage, 0.0) + timing.ended_s - timing.started_s
        started_s = min(max(timing.started_s, accounted_s), emitted_s)
        ended_s = min(max(timing.ended_s, started_s), emitted_s)
        if ended_s > started_s:
            critical["queue"] += started_s - accounted_s
            critical[timing.stage] += ended_s - started_s
            accounted_s = ended_s
    critical["emit"] += emitted_s - accounted_s
    return Ledger(
        critical=_in_ms(critical),
        compute=_in_ms(compute),
        end_of_speech_to_emit=(emitted_s - min(speech_end_s, emitted_s)) * 1000,
    )


def _in_ms(seconds: dict[str, float]) -> dict[str, float]:
    return {name: value * 1000 for name, value in seconds.items()}
