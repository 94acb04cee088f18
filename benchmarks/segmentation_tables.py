"""The figures of `benchmarks.segmentation` as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from realtime_ser.core.segmenter import FRAME_MS


def markdown(result: dict[str, Any]) -> str:
    """The figures as Markdown tables."""
    machine = result["machine"]
    parts = [
        f"Revision {machine['revision']}, {machine['measured_at']}, {machine['processor']}, "
        f"load average {machine['load_average']} at the start and "
        f"{result['load_average_after']} at the end.",
        "## Frames\n\n" + frame_table(result["detectors"]),
        "## Utterances\n\n" + utterance_table(result["detectors"]),
        "## CPU time\n\n" + cost_table(result["cost_us_per_frame"]),
    ]
    if "neighbourhood" in result:
        both = {"both (defaults)": result["detectors"]["both"]}
        parts += [
            "## Neighbours of the defaults\n\n" + near_table(both | result["neighbourhood"]),
            "## Silero alone, by the step of its windows\n\n" + frame_table(result["window_steps"]),
            "## Lead-in and hold, in frames\n\n" + frame_table(result["lead_in_and_hold"]),
            "## Corpus clips in which no utterance is heard\n\n" + corpus_table(result["corpora"]),
        ]
    return "\n\n".join(parts)


def table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def frame_table(rows: dict[str, Any]) -> str:
    head = ["detector", "F1", "missed speech", "silence called speech", "noise called speech"]
    keys = ("frame_f1", "speech_missed", "silence_called_speech", "noise_called_speech")
    return table(head, ([name, *(f"{row[key]:.3f}" for key in keys)] for name, row in rows.items()))


def spans(span: dict[str, float]) -> str:
    return f"{span['median']:.0f} / {span['p90']:.0f}"


def utterance_table(rows: dict[str, Any]) -> str:
    head = [
        "detector",
        "false/h",
        "... at four levels",
        "... after speech",
        "segments missed",
        "onset error ms",
    ]
    head += ["endpoint error ms", "decision delay ms", "decided in hangover + 60 ms"]
    return (
        table(
            head,
            (
                [
                    name,
                    f"{row['false_per_hour']:.0f}",
                    f"{row['false_per_hour_at_four_levels']:.0f}",
                    f"{row['false_per_hour_after_speech']:.0f}",
                    f"{row['merged_segments_missed']} of {row['merged_segments']}",
                    spans(row["onset_error_ms"]),
                    spans(row["endpoint_error_ms"]),
                    spans(row["decision_delay_ms"]),
                    f"{row['decided_in_time']:.0%}",
                ]
                for name, row in rows.items()
            ),
        )
        + "\n\nErrors and delays: median / 90th percentile."
    )


def near_table(rows: dict[str, Any]) -> str:
    head = [
        "setting",
        "F1",
        "noise called speech",
        "false/h",
        "... at four levels",
        "... after speech",
    ]
    head += ["segments missed", "median onset error ms", "median decision delay ms"]
    return table(
        head,
        (
            [
                name,
                f"{row['frame_f1']:.3f}",
                f"{row['noise_called_speech']:.3f}",
                f"{row['false_per_hour']:.0f}",
                f"{row['false_per_hour_at_four_levels']:.0f}",
                f"{row['false_per_hour_after_speech']:.0f}",
                f"{row['merged_segments_missed']}",
                f"{row['onset_error_ms']['median']:.0f}",
                f"{row['decision_delay_ms']['median']:.0f}",
            ]
            for name, row in rows.items()
        ),
    )


def cost_table(rows: dict[str, float]) -> str:
    return table(
        ["detector", "us a frame", "share of a core"],
        ([name, f"{us:.0f}", f"{us / FRAME_MS / 1000:.2%}"] for name, us in rows.items()),
    )


def corpus_table(rows: dict[str, Any]) -> str:
    lines = []
    for name, row in rows.items():
        if row["unheard"]:
            lost = str(len(row["unheard"]))
            lines.append([name, str(row["clips"]), lost, str(row["unheard_if_sure_is_0"])])
    clips = sum(row["clips"] for row in rows.values())
    lost = sum(len(row["unheard"]) for row in rows.values())
    undemanding = sum(row["unheard_if_sure_is_0"] for row in rows.values())
    lines.append(["all, with the groups that lost none", str(clips), str(lost), str(undemanding)])
    return table(["corpus, emotion", "clips", "unheard", "... with silero_sure 0"], lines)
