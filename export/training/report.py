"""`report.md`: an evaluation for people, and the rows that `bundle.json` publishes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .corpora import title
from .metrics import RELIABILITY_BINS

Document = Mapping[str, Any]

UNSEEN = "corpus never seen in training, all its clips"


def report(document: Document) -> str:
    """Markdown text."""
    subject, protocol = document["subject"], document["protocol"]
    marked = " **Speaker-dependent**: the same voices in training and test." * bool(
        protocol["speaker_dependent"]
    )
    text = {"given": "as the corpora give it", "missing": "missing", "not read": "not read"}
    sections = [
        f"# {subject['name']} ({subject['kind']})",
        f"Protocol: {protocol['kind']}, splits {', '.join(protocol['splits'])}.{marked} Text: "
        f"{text[subject['text']]}. Measured through the exported graphs.",
        corpora_table(document),
        "UA is the mean recall of the classes, answers restricted to the labels of the corpus, "
        "with its 95 % bootstrap interval over clips and, from four speakers on, over speakers; "
        "*as served*, all labels may be the answer. " + _mean_line(document),
    ]
    if len(document["mean"].get("after_seconds", [])) > 1:
        sections.append("## After how much speech\n\n" + "\n".join(_early_rows(document)))
    pooled = "\n".join(_pooled_lines(document))
    sections.append("## All test clips together, as served\n\n" + pooled)
    if document["sounds"]:
        sections.append("## Sounds that nobody acted\n\n" + sounds_table(document))
    if document.get("ratings"):
        rated = [f"- {title(name)}: {_ratings(row)}" for name, row in document["ratings"].items()]
        sections.append("## Valence, arousal and dominance\n\n" + "\n".join(rated))
    if "without_text" in document:
        sections.append(
            "## The same without any text\n\n" + corpora_table(document["without_text"])
        )
    sections += [
        f"## {title(name)}\n\n" + "\n".join(_detail(found, document["labels"]))
        for name, found in document["corpora"].items()
        if found["classes"]
    ]
    return "\n\n".join(sections) + "\n"


def corpora_table(document: Document) -> str:
    """One row a corpus."""
    rows = [
        "| corpus | clips | classes | UA | over clips | over speakers | WA | macro-F1 | AUC "
        "| UA as served |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in document["corpora"].items():
        if not found["classes"]:
            rows.append(f"| {title(name)} | {found['count']} | 0 | | | | | | | |")
            continue
        clips, speakers = found["unweighted_average_recall"], found["over_speakers"]
        area, heard = found["area_under_curve"], found["served"]["unweighted_average_recall"]
        rows.append(
            f"| {title(name)}{' (never seen)' if found['unseen'] else ''} | {found['count']} "
            f"| {found['classes']} | {percent(clips['value'])} | {_span(clips)} "
            f"| {_span(speakers) if speakers else 'too few'} "
            f"| {percent(found['weighted_accuracy'])} | {found['macro_f1']:.3f} "
            f"| {'' if area is None else f'{area:.3f}'} | {percent(heard)} |"
        )
    return "\n".join(rows)


def sounds_table(document: Document) -> str:
    """One row a kind of sound: what is answered, and how often nothing is."""
    labels = document["labels"]
    rows = [
        f"| heard | sounds | abstains | {' | '.join(labels)} |",
        f"|---|---|---|{'---|' * len(labels)}",
    ]
    for found in document["sounds"].values():
        answered = " | ".join(percent(found["answered"][label], 0) for label in labels)
        rows.append(
            f"| {found['title']} | {found['count']} | {percent(found['abstained'], 0)} "
            f"| {answered} |"
        )
    return "\n".join(rows)


def percent(value: float, digits: int = 1) -> str:
    """0.5 is 50.0 %."""
    return f"{value * 100:.{digits}f} %"


def published(document: Document) -> list[dict[str, Any]]:
    """The figures that go into `bundle.json`, each with the protocol it was measured under."""
    protocol = document["protocol"]
    kind = "speaker-dependent" if protocol["speaker_dependent"] else "speaker-independent"
    with_text = {"given": "; with transcripts", "missing": "; without text", "not read": ""}
    suffix = with_text[document["subject"]["text"]]
    rows: list[dict[str, Any]] = []
    for name, found in document["corpora"].items():
        if not found["classes"]:
            continue
        describe = {
            "dataset": title(name),
            "split": "all" if found["unseen"] else "test",
            "count": found["count"],
            "classes": found["classes"],
        }
        how = (UNSEEN if found["unseen"] else f"{kind}, {protocol['kind']}") + suffix
        recall, within = found["unweighted_average_recall"], "; among the corpus's labels"
        rows += [
            _row("unweighted_average_recall", recall["value"], how + within, describe),
            _row("unweighted_average_recall_low", recall["low"], how + within, describe),
            _row("unweighted_average_recall_high", recall["high"], how + within, describe),
            _row("weighted_accuracy", found["weighted_accuracy"], how + within, describe),
            _row("macro_f1", found["macro_f1"], how + within, describe),
            _row(
                "unweighted_average_recall",
                found["served"]["unweighted_average_recall"],
                f"{how}; all labels, as served",
                describe,
            ),
        ]
    together = {"split": "test", "count": document["pooled"]["count"]}
    mean = {"dataset": "mean of the corpora", **together}
    for point in document["mean"].get("after_seconds", []):
        seconds = point["seconds"]
        heard = "whole utterance" if seconds is None else f"first {seconds:g} s of speech"
        how = f"{kind}, {protocol['kind']}{suffix}; {heard}; among each corpus's labels"
        value = point["unweighted_average_recall"]
        rows.append(_row("unweighted_average_recall", value, how, mean))
    rows.append(
        _row(
            "expected_calibration_error",
            document["pooled"]["calibration_error"],
            f"{kind}, {protocol['kind']}{suffix}; all labels; {RELIABILITY_BINS} bins",
            {"dataset": "the corpora, pooled", **together},
        )
    )
    for found in document["sounds"].values():
        describe = {"dataset": found["title"], "split": "test", "count": found["count"]}
        how = "share of sounds; readers and noises that were not trained on"
        rows.append(_row("share_abstained", found["abstained"], how, describe))
        rows += [
            _row(f"share_{label}", value, f"{how}; where it does not abstain", describe)
            for label, value in found["answered"].items()
        ]
    return rows


def _row(name: str, value: float, protocol: str, describe: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "value": round(value, 4), **describe, "protocol": protocol}


def _span(interval: Mapping[str, float]) -> str:
    return f"{interval['low'] * 100:.1f}-{interval['high'] * 100:.1f}"


def _mean_line(document: Document) -> str:
    mean = document["mean"]
    if not mean:
        return ""
    return (
        f"Mean over {mean['corpora']} corpora: UA {percent(mean['unweighted_average_recall'])}, "
        f"WA {percent(mean['weighted_accuracy'])}, macro-F1 {mean['macro_f1']:.3f}; "
        f"{percent(mean['gap'])} between the best corpus and the worst."
    )


def _early_rows(document: Document) -> Iterator[str]:
    points = document["mean"].get("after_seconds", [])
    names = ["all" if p["seconds"] is None else f"{p['seconds']:g} s" for p in points]
    yield f"| UA after | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    lines = {title(name): found for name, found in document["corpora"].items() if found["classes"]}
    for name, found in {**lines, "mean": document["mean"]}.items():
        values = [percent(p["unweighted_average_recall"]) for p in found.get("after_seconds", [])]
        yield f"| {name} | {' | '.join(values)} |"


def _pooled_lines(document: Document) -> Iterator[str]:
    pooled = document["pooled"]
    answered = pooled["accuracy_where_answered"]
    yield (
        f"{pooled['count']} clips: WA {percent(pooled['weighted_accuracy'])}, UA "
        f"{percent(pooled['unweighted_average_recall'])}, WA + UA "
        f"{pooled['sum_of_both'] * 100:.2f}, macro-F1 {pooled['macro_f1']:.3f}, expected "
        f"calibration error {pooled['calibration_error']:.3f}. Abstains on "
        f"{percent(pooled['abstained'])}; right in "
        f"{'none' if answered is None else percent(answered)} of the rest."
    )
    for each in document["calibration"]:
        yield (
            f"Temperature {each['temperature']:.3f}, abstains below {each['abstain_below']:.3f} "
            f"(from {each['source']})."
        )


def _ratings(ratings: Document) -> str:
    told = ", ".join(
        f"{name} {row['concordance']:.3f} (Pearson {row['pearson']:.3f}, {row['count']} rated)"
        for name, row in ratings.items()
    )
    return f"Concordance with ratings: {told}."


def _detail(found: Document, labels: list[str]) -> Iterator[str]:
    yield "| class | clips | precision | recall | F1 | heard as |"
    yield "|---|---|---|---|---|---|"
    for name, row in found["of_class"].items():
        counts = found["confusion"][labels.index(name)]
        order = sorted(range(len(labels)), key=lambda i: -counts[i])
        heard = ", ".join(f"{labels[i]} {counts[i]}" for i in order if counts[i])
        yield (
            f"| {name} | {row['count']:.0f} | {row['precision']:.2f} | {row['recall']:.2f} "
            f"| {row['f1']:.2f} | {heard} |"
        )
    sexes = found["of_sex"]
    yield ""
    if sexes["recall"]:
        told = ", ".join(f"{sex} {percent(value)}" for sex, value in sexes["recall"].items())
        yield f"UA by sex: {told}." + (f" Gap {percent(sexes['gap'])}." if sexes["gap"] else "")
    if found["not_among_labels"]:
        yield f"{found['not_among_labels']} clips of labels that it does not have are left out."
    if "ratings" in found:
        yield _ratings(found["ratings"])
    if "arousal_tells_intensity" in found:
        yield (
            "Arousal tells strong acting from weak with an AUC of "
            f"{found['arousal_tells_intensity']:.3f}."
        )
