"""Read the labelled sentences of `data/text`: one reader for each corpus, one kind of row.

Every reader gives all rows of its corpus with the corpus's own split; corpora without one (ISEAR,
XED, the Facebook posts) are split by a hash of the text, a tenth each for dev and test.
`splits.read_rows` then takes out of training what any dev or test set holds.
"""

from __future__ import annotations

import csv
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExportError
from .labels import CORPORA, OWN_LABELS

_NO_RATING = float("nan")
_PLUTCHIK = ("neutral", *OWN_LABELS["xed_es"])


@dataclass(frozen=True, slots=True)
class TextRow:
    """One labelled sentence.

    Attributes:
        text: without links, user names and the marks of hash tags.
        corpus: one of `labels.CORPORA`.
        language: en or es.
        split: train, dev or test.
        labels: of the corpus's own, none or several where it allows it; empty for ratings.
        affect: valence, arousal, dominance, each 0..1 of the corpus's own scale; NaN where not
            rated.
    """

    text: str
    corpus: str
    language: str
    split: str
    labels: tuple[str, ...] = ()
    affect: tuple[float, float, float] = (_NO_RATING, _NO_RATING, _NO_RATING)


_LINK = re.compile(r"https?://\S+|www\.\S+|\bURL\b")
_USER = re.compile(r"@<?\w+>?|\bUSER(_\w+)?\b")
_CAMEL = re.compile(r"(?<=[a-záéíóúñ])(?=[A-ZÁÉÍÓÚÑ])")
_HASH_TAG = re.compile(r"#(\w+)|\bHASHTAG\b")
_SPACES = re.compile(r"\s+")
_TOKENISED = re.compile(r"\s+([.,!?;:'\u2019)\]]|n't\b)|([(\[])\s+")


def clean(text: str) -> str:
    """Without what no one says: links, user names, the marks of hash tags, runs of spaces."""
    text = _USER.sub(" ", _LINK.sub(" ", html.unescape(text)))
    text = _HASH_TAG.sub(lambda found: _CAMEL.sub(" ", found[1] or ""), text)
    return _SPACES.sub(" ", text).strip()


def folded(text: str) -> str:
    """Letters and digits alone, in lower case: what two copies of a sentence have in common."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def hash_split(text: str) -> str:
    """Train, dev or test, a tenth each for the last two; copies of a text fall together."""
    place = hashlib.sha256(folded(text).encode()).digest()[0] % 10
    return {0: "dev", 1: "test"}.get(place, "train")


def read_corpora(data: Path, corpora: Sequence[str] = CORPORA) -> list[TextRow]:
    """All rows of `corpora` under `data`, a folder with one folder for each source.

    Raises:
        ExportError: a file of a corpus is not there.
    """
    readers = [read for names, read in _READERS if {*names} & {*corpora}]
    try:
        rows = [row for read in readers for row in read(data)]
    except FileNotFoundError as error:
        raise ExportError(
            f"{error.filename} is not there; give the folder that holds goemotions/, meld/, "
            "emobank/ and the other text corpora, or take the corpus out of [text] corpora"
        ) from error
    return [row for row in rows if row.corpus in corpora and folded(row.text)]


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            yield line.rstrip("\r\n")


def _table(path: Path, delimiter: str = ",", quoted: bool = True) -> Iterator[dict[str, str]]:
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter, quoting=quoting)


def _goemotions(data: Path) -> Iterator[TextRow]:
    folder = data / "goemotions" / "original"
    names = list(_lines(folder / "labels.txt"))
    for split in ("train", "dev", "test"):
        for line in _lines(folder / f"{split}.tsv"):
            text, numbers, _ = line.rsplit("\t", 2)
            labels = tuple(names[int(number)] for number in numbers.split(","))
            yield TextRow(clean(text), "goemotions", "en", split, labels)


def _meld(data: Path) -> Iterator[TextRow]:
    # The test utterances are not public here; dev stands for both.
    for split in ("train", "dev"):
        for row in _table(data / "meld" / f"{split}_sent_emo.csv"):
            yield TextRow(clean(row["Utterance"]), "meld", "en", split, (row["Emotion"],))


def _emorynlp(data: Path) -> Iterator[TextRow]:
    for split in ("train", "dev", "test"):
        for row in _table(data / "emorynlp" / f"emorynlp_{split}_final.csv"):
            label = row["Emotion"].lower()
            yield TextRow(clean(row["Utterance"]), "emorynlp", "en", split, (label,))


def _dairai(data: Path) -> Iterator[TextRow]:
    for split, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        for row in _table(data / "dairai_emotion" / f"{name}.txt", ";", quoted=False):
            yield TextRow(clean(row["text"]), "dairai", "en", split, (row["label_name"],))


def _isear(data: Path) -> Iterator[TextRow]:
    for row in _table(data / "isear" / "isear.csv", "|", quoted=False):
        # "á" stands where the questionnaires broke a line, and before "[No response.]".
        text = clean(row["SIT"].replace("á", " "))
        if not text.startswith(("[", "No response", "NO RESPONSE")):
            yield TextRow(text, "isear", "en", hash_split(text), (row["Field1"],))


def _emoevent(data: Path) -> Iterator[TextRow]:
    folder = data / "emoevent"
    # The labels of the Spanish test file are shuffled (they agree with the corpus in 35 % of its
    # tweets, those of the other five files in 99.5 % or more): the corpus itself is right.
    table = _table(folder / "emoevent_es.csv", "\t")
    of_text = {folded(clean(row["tweet"])): row["emotion"] for row in table}
    for language in ("en", "es"):
        for split in ("train", "dev", "test"):
            path = folder / "splits" / language / f"{split}.tsv"
            for row in _table(path, "\t", quoted=False):
                text, label = clean(row["tweet"]), row["emotion"]
                if (language, split) == ("es", "test"):
                    key = folded(clean(_HASH_TAG.sub(" ", row["tweet"])))
                    if key not in of_text:
                        continue
                    label = of_text[key]
                yield TextRow(text, f"emoevent_{language}", language, split, (label,))


def _meacorpus(data: Path) -> Iterator[TextRow]:
    for row in _table(data / "meacorpus2023_es" / "spanish-meacorpus-2023-dataset.csv"):
        yield TextRow(clean(row["transcription"]), "meacorpus", "es", "train", (row["label"],))


def _semeval_en(data: Path) -> Iterator[TextRow]:
    names = OWN_LABELS["semeval_en"][:-1]
    for split, file in (("train", "train"), ("dev", "dev"), ("test", "test-gold")):
        path = data / "semeval2018_en" / "E-c" / f"E-c-En-{file}.txt"
        for row in _table(path, "\t", quoted=False):
            labels = tuple(name for name in names if row[name] == "1") or ("neutral",)
            yield TextRow(clean(row["Tweet"]), "semeval_en", "en", split, labels)


def _semeval_es(data: Path) -> Iterator[TextRow]:
    """The native Spanish tweets: classes 2 and 3 (moderate, high) of an emotion count as it."""
    folder = data / "semeval2018_es"
    for split in ("train", "dev"):
        for label in ("anger", "fear", "joy", "sadness"):
            path = folder / f"native_2018-EI-oc-Es-{label}-{split}.tsv"
            for row in _table(path, "\t", quoted=False):
                if row["score"][:1] in ("2", "3"):
                    yield TextRow(clean(row["tweet"]), "semeval_es", "es", split, (label,))
        for row in _table(folder / f"native_2018-Valence-reg-Es-{split}.tsv", "\t", quoted=False):
            affect = (float(row["score"]), _NO_RATING, _NO_RATING)
            text = clean(row["tweet"])
            yield TextRow(text, "semeval_es_valence", "es", split, affect=affect)


def _xed(data: Path) -> Iterator[TextRow]:
    folder = data / "xed"
    for language, corpus, path in (
        ("en", "xed_en", folder / "AnnotatedData" / "en-annotated.tsv"),
        ("en", "xed_en", folder / "Projections" / "en-projections.tsv"),
        ("es", "xed_es", folder / "Projections" / "es-projections.tsv"),
    ):
        for line in _lines(path):
            # Stray tabs: the labels are what follows the last one.
            text, _, numbers = line.rpartition("\t")
            if re.fullmatch(r"\s*[1-8](\s*,\s*[1-8])*\s*", numbers):
                labels = tuple(sorted({_PLUTCHIK[int(n)] for n in numbers.split(",")}))
                text = _subtitle(text)
                yield TextRow(text, corpus, language, hash_split(text), labels)
    for line in _lines(folder / "AnnotatedData" / "neu_en.txt"):
        text = _subtitle(line.partition("\t")[2])
        yield TextRow(text, "xed_en", "en", hash_split(text), ("neutral",))


def _subtitle(text: str) -> str:
    """Without the spaces of a tokeniser and the dash that opens a speaker's line."""
    joined = _TOKENISED.sub(lambda found: found[1] or found[2], clean(text))
    return joined.lstrip("-* ").replace("[PERSON]", "[NAME]")


def _brighter(data: Path) -> Iterator[TextRow]:
    folder = data / "brighter_semeval2025"
    for corpus, language, name in (("brighter_en", "en", "eng"), ("brighter_es", "es", "esp")):
        files = {split: folder / "track_a" / split / f"{name}.csv" for split in ("train", "dev")}
        files["test"] = folder / "track_a" / "test" / f"{name}.csv"
        if language == "en":
            # The labels of the English test set were published with track B only.
            files["test"] = folder / "track_a_test_eng_from_track_b.csv"
        names = [label for label in OWN_LABELS[corpus] if label != "neutral"]
        for split, path in files.items():
            for row in _table(path):
                labels = tuple(n for n in names if float(row[n] or 0) > 0) or ("neutral",)
                yield TextRow(clean(row["text"]), corpus, language, split, labels)


def _emobank(data: Path) -> Iterator[TextRow]:
    for row in _table(data / "emobank" / "emobank.csv"):
        valence, arousal, dominance = ((float(row[name]) - 1) / 4 for name in "VAD")
        affect = (valence, arousal, dominance)
        yield TextRow(clean(row["text"]), "emobank", "en", row["split"], affect=affect)


def _facebook(data: Path) -> Iterator[TextRow]:
    path = data / "fb_valence_arousal" / "dataset-fb-valence-arousal-anon.csv"
    for row in _table(path):
        valence, arousal = (_mean_rating(row, name) for name in ("Valence", "Arousal"))
        text = clean(row["Anonymized Message"])
        affect = (valence, arousal, _NO_RATING)
        yield TextRow(text, "fb", "en", hash_split(text), affect=affect)


def _mean_rating(row: dict[str, str], name: str) -> float:
    """Of the two raters, 1..9 to 0..1."""
    return (float(row[f"{name}1"]) + float(row[f"{name}2"]) - 2) / 16


_READERS = (
    (("goemotions",), _goemotions),
    (("meld",), _meld),
    (("emorynlp",), _emorynlp),
    (("dairai",), _dairai),
    (("isear",), _isear),
    (("emoevent_en", "emoevent_es"), _emoevent),
    (("meacorpus",), _meacorpus),
    (("semeval_en",), _semeval_en),
    (("semeval_es", "semeval_es_valence"), _semeval_es),
    (("xed_en", "xed_es"), _xed),
    (("brighter_en", "brighter_es"), _brighter),
    (("emobank",), _emobank),
    (("fb",), _facebook),
)
