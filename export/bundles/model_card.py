"""The text of MODEL_CARD.md. Its figures come from the same list as those in `bundle.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..training.corpora import LABELS
from ..training.figures import DEV_ABSTENTIONS, Calibration

Metric = dict[str, Any]

COMMAND = (
    "python -m realtime_ser_export train-default --data ../shared/data "
    "--out realtime_ser/models/default"
)

_TEMPLATE = """\
# Model card: the default bundle

Hears which of seven emotions an actor would be playing in a stretch of speech. An audio encoder
trained from scratch: {parameters:,} parameters, log-mel front end in the graph, three conformer
blocks of width 128, attentive statistics pooling. There is no text part yet.

Labels: {labels}.
*Calm* was trained as *neutral*; *boredom* was left out.

## Data and licences

| corpus | language | used for | licence |
|---|---|---|---|
| CREMA-D | English | training | ODbL 1.0 |
| RAVDESS | English | training | CC BY-NC-SA 4.0 |
| EmoDB | German | training | free for research |
| nEMO | Polish | training | CC BY-NC-SA 4.0 |
| BanglaSER | Bangla | training | CC BY 4.0 |
| TESS | English | evaluation only: its licence allows no derivatives | CC BY-NC-ND 4.0 |
| LibriSpeech, 200 utterances | English | evaluation only | CC BY 4.0 |
| 105 non-speech recordings | | evaluation only | research |

The **weights are CC BY-NC-SA 4.0**, because of RAVDESS and nEMO: no commercial use. The program
around them is Apache-2.0. No recording is in this bundle; the sounds in `golden.npz` are computed.

## Figures

All measured through the exported ONNX graph, on clips cut as the product cuts them (from 300 ms
before the first speech to 150 ms after the last). Test speakers were neither trained on nor chosen
on. UA is the mean recall of the classes, WA the share of right answers. *Restricted*: the answer is
taken among the labels that the corpus has; *as served*: among all seven.

| corpus | clips | classes | UA restricted | WA restricted | UA as served |
|---|---|---|---|---|---|
{corpora}

TESS is a corpus that the model never saw, with two speakers who say one kind of sentence. It is the
only row that says something about a new studio; expect figures nearer to it than to the others, and
lower ones again for feelings that nobody acts.

{early}

Expected calibration error on the test splits, all seven labels allowed: {calibration_error:.3f}
(temperature {temperature:.2f}, fitted on dev).

Below a top probability of {abstain_below:.3f} the model abstains. The threshold is the highest at
which no more than {dev_abstentions:.0%} of the dev clips do; {noise_abstained:.0%} of 200 computed
noises, hums and clicks then abstain. What it says to sounds that are not acted emotion (share of
all sounds, those that abstain included):

| heard | abstains | {label_heads} |
|---|---|{label_rules}|
{shares}

## Limits

- **Calm speech is seldom called neutral.** No training corpus has ordinary reading or talking, and
  its classes are as frequent as each other, which feelings are not: of neutral readers it never
  heard, {read_neutral:.0%} are heard as neutral (table above). What it says of a calm stranger
  means little until it has been set against other utterances of the same person.
- Acted, short, mostly prompted sentences by few people ({speakers} speakers in training). Real
  feelings are quieter, mixed and often not in the voice at all.
- CREMA-D's own listeners agree with the acted label in 41 % of the clips by ear.
- A corpus, a microphone or a language that was not trained on costs a large part of the accuracy.
  Children, elderly speakers, singing, whispering and telephone lines were not tested.
- One voice at a time: with several it answers for the mixture.
- **Valence, arousal and dominance are not measured.** None of the corpora has such ratings. Each
  label stands at a published point (Russell & Mehrabian 1977, see `bundle.json`, whose values were
  checked against public copies of the table, not against the paper), *neutral* at the
  middle, and the estimate is their mean under the label probabilities. *Surprised* is a pleasant
  surprise there.

## Not to be used for

Decisions about people: hiring, grading, credit, insurance, policing, border control, medical or
psychological diagnosis, lie detection, monitoring of workers or pupils. Not to be taken as what a
person feels: it says which acted emotion the sound is most like.

## How it was made

{steps:,} steps of {batch_size} clips in {minutes:.0f} minutes on two CPU cores shared with other
work (Intel Xeon at 2.5 GHz, no GPU), PyTorch {torch_version}. Weights averaged over the steps; the
average with the best mean UA on the dev speakers of the five corpora ({dev_recall:.1%}) was kept,
step {kept_step:,}. Cross-entropy over the labels of each clip's corpus, listeners' votes as soft
labels, mixup, random speed, vocal tract, band, noise, room and background voices, and computed
non-speech with an even target.

    {command}

Another run on another machine gives slightly different weights and figures.
"""


def model_card(
    *,
    parameters: int,
    training: dict[str, Any],
    calibration: Calibration,
    metrics: Sequence[Metric],
    speakers: int,
    torch_version: str,
) -> str:
    """Markdown text. `training` is what `load_best` returned beside the weights."""
    early = [m for m in metrics if m["dataset"].startswith("mean of")]
    heard = ";\n".join(f"{m['value']:.1%} ({m['protocol'].split('; ')[1]})" for m in early)
    error = next(m["value"] for m in metrics if m["name"] == "expected_calibration_error")
    return _TEMPLATE.format(
        parameters=parameters,
        labels=", ".join(LABELS),
        corpora="\n".join(_corpus_rows(metrics)),
        early=f"Mean restricted UA of the five test splits by what was heard:\n{heard}.",
        calibration_error=error,
        temperature=calibration.temperature,
        abstain_below=calibration.abstain_below,
        dev_abstentions=DEV_ABSTENTIONS,
        noise_abstained=calibration.noise_abstained,
        read_neutral=_share(metrics, "neutral", "reading"),
        label_heads=" | ".join(LABELS),
        label_rules="|".join("---" for _ in LABELS),
        shares="\n".join(_share_rows(metrics)),
        speakers=speakers,
        steps=training["total_steps"],
        batch_size=training["batch_size"],
        minutes=training["total_seconds"] / 60,
        kept_step=training["step"],
        dev_recall=training["dev_recall"],
        torch_version=torch_version,
        command=COMMAND,
    )


def _share(metrics: Sequence[Metric], label: str, dataset: str) -> float:
    """The share of `label` among the answers to the data set whose title holds `dataset`."""
    return next(
        float(m["value"])
        for m in metrics
        if m["name"] == f"share_{label}" and dataset in m["dataset"]
    )


def _corpus_rows(metrics: Sequence[Metric]) -> list[str]:
    rows = []
    for accuracy in (m for m in metrics if m["name"] == "weighted_accuracy"):
        recalls = [
            m
            for m in metrics
            if m["name"] == "unweighted_average_recall" and m["dataset"] == accuracy["dataset"]
        ]
        within, served = recalls
        interval = within["protocol"].rsplit("clips ", 1)[1].replace(" to ", "-")
        note = " (never seen)" if accuracy["split"] != "test" else ""
        rows.append(
            f"| {accuracy['dataset']}{note} | {accuracy['count']} | {accuracy['classes']} "
            f"| {within['value']:.3f} ({interval}) | {accuracy['value']:.3f} "
            f"| {served['value']:.3f} |"
        )
    return rows


def _share_rows(metrics: Sequence[Metric]) -> list[str]:
    rows = []
    for abstained in (m for m in metrics if m["name"] == "share_abstained"):
        of_label = {m["name"]: m["value"] for m in metrics if m["dataset"] == abstained["dataset"]}
        shares = " | ".join(f"{of_label[f'share_{label}']:.0%}" for label in LABELS)
        heard = f"{abstained['dataset']} ({abstained['count']})"
        rows.append(f"| {heard} | {abstained['value']:.0%} | {shares} |")
    return rows
