"""The text of MODEL_CARD.md of a bundle that was trained here. Its figures are those measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..training.report import corpora_table, percent, sounds_table

Document = Mapping[str, Any]

_KINDS = {
    "real": "a clip and its own transcript, whose words say nothing or are in another language",
    "real, sentences not learnt": "of these, sentences that the head never saw",
    "matched": "a clip and some sentence of the same emotion",
    "neutral": "a clip and some neutral sentence",
    "calm": "a neutral clip and some sentence of an emotion, which is then right",
    "contradicting": "an emotional clip and some sentence of another emotion; the voice's is right",
    "missing": "a clip without text",
}

_USES = """\
## Not to be used for

Decisions about people: hiring, grading, credit, insurance, policing, border control, medical or
psychological diagnosis, lie detection, monitoring of workers or pupils. Not to be taken as what a
person feels: it says which acted emotion the sound is most like, and which written one the words.
"""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card is written from.

    Attributes:
        description: `bundle.json` without its hashes.
        evaluation: metrics.json of the bundle, on voices alone.
        text_metrics: rows of the text encoder's own figures; empty where there are none.
        fusion: figures.json of the fusion stage; None without a head.
        speakers: in training.
        recipe: name of the training recipe.
        made_by: sentences on how the encoders were trained.
        versions: of packages.
    """

    description: Document
    evaluation: Document
    text_metrics: Sequence[Document]
    fusion: Document | None
    speakers: int
    recipe: str
    made_by: Sequence[str]
    versions: Mapping[str, str]


def trained_card(facts: CardFacts) -> str:
    """Markdown text."""
    description = facts.description
    sections = [
        f"# Model card: {description['name']} {description['version']}\n\n"
        f"{description['description']}\n\nLabels: {', '.join(description['labels'])}. *Calm* was "
        "trained as *neutral*; *boredom* was left out. Languages of the voices: "
        f"{', '.join(description['languages'])}.",
        "\n".join(_parts(description["parts"])),
        "## Data and licences\n\n" + "\n".join(_data(description["licence"])),
        "## The voice\n\n" + "\n\n".join(_voice(facts)),
    ]
    if facts.text_metrics:
        sections.append("## The words\n\n" + "\n".join(_words(facts.text_metrics)))
    if facts.fusion is not None:
        sections.append("## Voice and words together\n\n" + "\n\n".join(_together(facts.fusion)))
    sections += [
        "## Valence, arousal, dominance\n\n" + "\n\n".join(_affect(facts)),
        "## Limits\n\n" + "\n".join(_limits(facts)),
        _USES.rstrip(),
        "## How it was made\n\n" + "\n\n".join(_made(facts)),
    ]
    return "\n\n".join(sections) + "\n"


def _parts(parts: Document) -> Iterator[str]:
    yield "| part | parameters | gives |"
    yield "|---|---|---|"
    fusion = [parts["fusion"]] if parts["fusion"] else []
    for part in (*parts["audio"], *parts["text"], *fusion):
        gives = ", ".join(output["name"] for output in part["outputs"])
        yield f"| {part['name']} | {part['parameters']:,} | {gives} |"


def _data(licence: Document) -> Iterator[str]:
    yield "| data | used for | licence |"
    yield "|---|---|---|"
    for use in licence["data"]:
        yield f"| {use['name']} | {use['used_for']} | {use['licence']} |"
    yield ""
    yield (
        f"The **weights are {licence['weights']}**, as the strictest of the data they were made "
        "of. The program around them is Apache-2.0. No recording and no sentence of the data is in "
        "this bundle; the sounds in `golden.npz` are computed."
    )


def _voice(facts: CardFacts) -> Iterator[str]:
    document = facts.evaluation
    yield (
        "Voices alone, no text. Measured through this bundle's graphs, on clips cut as the product "
        "cuts them (from 300 ms before the first speech to 150 ms after the last). Test speakers "
        "were neither trained on nor chosen on. UA is the mean recall of the classes, WA the share "
        "of right answers, among the labels that the corpus has; *as served*, among all."
    )
    yield corpora_table(document)
    yield (
        "The intervals are 95 %. A corpus that is marked *never seen* is what a new studio is "
        "like; expect figures nearer to it than to the others, and lower ones again for feelings "
        "that nobody acts."
    )
    early = [
        f"{percent(point['unweighted_average_recall'])} "
        + ("on the whole" if point["seconds"] is None else f"after {point['seconds']:g} s")
        for point in document["mean"].get("after_seconds", [])
    ]
    calibration = facts.description["calibration"]
    pooled = document["pooled"]
    yield (
        f"Mean UA of the corpora by how much speech was heard: {', '.join(early)}. Expected "
        f"calibration error on all test clips {pooled['calibration_error']:.3f} (temperature "
        f"{calibration['temperature']:.2f}, fitted on dev). Below a top probability of "
        f"{calibration['abstain_below']:.3f} the model abstains: {percent(pooled['abstained'])} of "
        f"the test clips; of the others {percent(pooled['accuracy_where_answered'] or 0)} are "
        "right."
    )
    if document["sounds"]:
        yield "What is answered to sounds that nobody acted, none of them trained on:"
        yield sounds_table(document)


def _words(rows: Sequence[Document]) -> Iterator[str]:
    yield "The text encoder alone, on sentences of its corpora that it was not trained on:"
    yield ""
    yield "| corpus | split | figure | value | how |"
    yield "|---|---|---|---|---|"
    for row in rows:
        name = row["name"].replace("_", " ")
        yield (
            f"| {row['dataset']} | {row['split']} | {name} | {row['value']:.3f} | "
            f"{row['protocol']} |"
        )


def _together(fusion: Document) -> Iterator[str]:
    strategy = fusion["strategy"]
    figures = fusion["figures"]
    yield (
        "**No corpus here has emotional speech that says emotional words.** Actors speak given "
        "sentences that say nothing; the sentences of the text corpora were never spoken. The head "
        "was therefore trained, and is measured, on pairs that were made: clips with their own "
        "transcripts, with sentences of the same emotion (which takes voice and words to be "
        "independent once the emotion is known, and they are not), with neutral ones, neutral "
        "clips with emotional ones, with ones that contradict the voice, and with none. It "
        "learnt from dev clips and dev sentences, which the encoders had not learnt; the table is "
        "of test clips and test sentences. UA as served, all labels allowed."
    )
    yield "\n".join(_kind_rows(figures[strategy]["test"]))
    yield (
        "What is right where voice and words disagree is a decision: neutral contradicts nothing, "
        "and of two emotions it is the voice's. How often each kind of pair was drawn in training "
        f"({_shares(fusion['settings']['shares'])}) is one, too: it is what the head takes the "
        "world to be. *Gate* is how far the words count, 0 to 1."
    )
    if strategy == "gated":
        yield "Without text the head hands the voice's own answer through."
    if len(figures) > 1:
        yield "Other ways to join the two, trained and measured on the same pairs (UA):"
        yield "\n".join(_strategy_rows(figures))


def _shares(shares: Document) -> str:
    return ", ".join(f"{kind} {share:g}" for kind, share in shares.items())


def _kind_rows(found: Document) -> Iterator[str]:
    yield "| pairs | n | voice | words | both | gain, 95 % | ECE | gate |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind, row in found.items():
        words = "" if row["text"] is None else percent(row["text"])
        yield (
            f"| *{kind}*: {_KINDS[kind]} | {row['count']} | {percent(row['audio'])} | {words} "
            f"| {percent(row['fused'])} | {row['gain_low'] * 100:+.1f} to "
            f"{row['gain_high'] * 100:+.1f} | {row['calibration_error']:.3f} | {row['gate']:.2f} |"
        )


def _strategy_rows(figures: Document) -> Iterator[str]:
    kinds = list(next(iter(figures.values()))["test"])
    yield f"| strategy | {' | '.join(kinds)} |"
    yield f"|---|{'---|' * len(kinds)}"
    first = next(iter(figures.values()))["test"]
    voice = " | ".join(percent(first[kind]["audio"]) for kind in kinds)
    yield f"| voice alone | {voice} |"
    for strategy, found in figures.items():
        values = " | ".join(percent(found["test"][kind]["fused"]) for kind in kinds)
        yield f"| {strategy} | {values} |"


def _affect(facts: CardFacts) -> Iterator[str]:
    yield (
        "**Derived, not measured, as far as the voice goes.** None of the speech corpora has "
        "ratings. Each label stands at a published point (Russell & Mehrabian 1977; values checked "
        "against public copies of the table, not against the paper), *neutral* at the middle, and "
        "the estimate is their mean under the label probabilities. *Surprised* is a pleasant "
        "surprise there."
    )
    if facts.fusion is None:
        return
    affect, settings = facts.fusion.get("affect", {}), facts.fusion["settings"]
    if "intensity_rank_correlation" in affect:
        orders = affect["arousal_rank_correlation"]
        heard = affect["intensity_rank_correlation"]
        yield (
            "Arousal then moves with how intense the voice sounds: a ridge regression on the "
            "encoder's outputs, fitted to the intensity that actors were asked for (CREMA-D low, "
            "medium, high; RAVDESS and BanglaSER normal, strong), by "
            f"{settings['arousal_strength']:g} a standard deviation, which is a decision. Measured "
            "on test actors: within a corpus and an emotion, its rank correlation with that "
            f"intensity is {heard['test']:.2f}; that of the arousal that is served "
            f"{orders['served']:.2f}, without the regression {orders['centroids alone']:.2f}."
        )
    yield (
        "Words count where there are any: the text encoder's own valence, arousal and dominance, "
        "a regression on people's ratings of written sentences (EmoBank, on its scale), have up "
        f"to {settings['text_affect']:.0%} of the estimate, times the gate. That "
        "share is a decision, too: no corpus rates both."
    )


def _limits(facts: CardFacts) -> Iterator[str]:
    sounds = facts.evaluation["sounds"]
    if "read_speech" in sounds:
        read = sounds["read_speech"]
        calm = read["answered"]["neutral"] + read["abstained"]
        yield (
            f"- Of calm readers it never heard, {percent(calm, 0)} are heard as neutral or as "
            "nothing; the others are called something they are not (table above). What it says of "
            "a calm stranger means little until it has been set against other utterances of the "
            "same person."
        )
    yield (
        f"- Acted, short, mostly prompted sentences by few people ({facts.speakers} speakers in "
        "training). Real feelings are quieter, mixed and often not in the voice at all."
    )
    yield "- CREMA-D's own listeners agree with the acted label in 41 % of the clips by ear."
    yield (
        "- A corpus, a microphone or a language that was not trained on costs a large part of the "
        "accuracy. Children, elderly speakers, singing, whispering and telephone lines were not "
        "tested."
    )
    yield "- One voice at a time: with several it answers for the mixture."
    if facts.fusion is not None:
        yield (
            "- What the words are worth in a conversation was not measured, for want of a corpus. "
            "Transcripts with errors, irony and words about somebody else's feelings were neither."
        )


def _made(facts: CardFacts) -> Iterator[str]:
    versions = ", ".join(f"{name} {number}" for name, number in facts.versions.items())
    yield " ".join([*facts.made_by, f"With {versions}."])
    yield f"    realtime-ser-export train {facts.recipe} --data ../shared/data --out RUN"
    yield "Another run on another machine gives slightly different weights and figures."
