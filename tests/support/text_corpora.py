"""Text corpora in the layout of data/text, a few dozen made-up sentences."""

from __future__ import annotations

from pathlib import Path

FINE_LABELS = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
WORDS = {
    "anger": "furious",
    "disgust": "gross",
    "fear": "scared",
    "joy": "lovely",
    "sadness": "crying",
    "surprise": "unexpected",
    "neutral": "table",
}


def write_goemotions(data: Path, copies: int = 6) -> None:
    """Every label in every split; the word of the label is the only sign of it."""
    folder = data / "goemotions" / "original"
    folder.mkdir(parents=True)
    (folder / "labels.txt").write_text("\n".join(FINE_LABELS) + "\n", encoding="utf-8")
    for split in ("train", "dev", "test"):
        lines = [
            f"the {split} thing number {copy} is {WORDS[label]} to [NAME]\t{number}\tid"
            for copy in range(copies)
            for number, label in enumerate(FINE_LABELS)
        ]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_emobank(data: Path, rows: int = 12) -> None:
    """Good things are rated high."""
    (data / "emobank").mkdir(parents=True)
    lines = ["id,split,V,A,D,text"]
    for split in ("train", "dev", "test"):
        for row in range(rows):
            good = row % 2
            word = "good" if good else "bad"
            text = f'"a {word}, {split} day {row}"'
            lines.append(
                f"x{row},{split},{2 + 2 * good + row / 50},{3 + row / 40},3.{row % 9},{text}"
            )
    (data / "emobank" / "emobank.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_meacorpus(data: Path, copies: int = 6) -> None:
    """Spanish, without a split; one sentence stands twice."""
    folder = data / "meacorpus2023_es"
    folder.mkdir(parents=True)
    words = {"anger": "rabia", "disgust": "asco", "joy": "alegría", "neutral": "mesa"}
    lines = ["filename,label,transcription,split"]
    for copy in range(copies):
        lines += [f'a.mp3,{label},"Dice {word}, {copy}",train' for label, word in words.items()]
    lines.append('b.mp3,anger,"Dice rabia 0",train')
    path = folder / "spanish-meacorpus-2023-dataset.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
