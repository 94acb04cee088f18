"""Who may be in which split, and what a corpus' labels become. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

soundfile = pytest.importorskip("soundfile", reason="the export extra is not installed")

from realtime_ser_export.errors import ExportError  # noqa: E402
from realtime_ser_export.speech.audio_cache import speech_bounds  # noqa: E402
from realtime_ser_export.training.corpora import (  # noqa: E402
    LABELS,
    TRAINING_CORPORA,
    Clip,
    SpeakerLeakError,
    label_masks,
    read_clips,
)
from realtime_ser_export.training.protocols import Protocol, splits  # noqa: E402

HEADER = (
    "file,corpus,split,speaker,sex,language,emotion,intensity,votes,text,seconds,source_rate_hz"
)


def clips_of(folder: Path, *rows: str) -> list[Clip]:
    (folder / "speech.csv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return read_clips(folder)


def test_calm_is_neutral_and_boredom_is_left_out(tmp_path: Path) -> None:
    clips = clips_of(
        tmp_path,
        "a.opus,ravdess,train,r1,male,en,calm,,,Kids,1.0,48000",
        "b.opus,emodb,train,e1,male,de,boredom,,,Heute,1.0,16000",
    )
    assert [(clip.file, clip.label_name) for clip in clips] == [("a.opus", "neutral")]


def test_votes_become_shares_in_the_order_of_the_labels(tmp_path: Path) -> None:
    (clip,) = clips_of(tmp_path, "a.opus,cremad,train,c1,male,en,angry,,6/2/0/0/1/1,It,1.0,11025")
    assert clip.votes is not None
    assert dict(zip(LABELS, clip.votes, strict=True))["disgust"] == pytest.approx(0.2)
    assert sum(clip.votes) == pytest.approx(1.0)


def test_nobody_voted(tmp_path: Path) -> None:
    (clip,) = clips_of(tmp_path, "a.opus,cremad,train,c1,male,en,angry,,0/0/0/0/0/0,It,1.0,11025")
    assert clip.votes is None


def test_a_speaker_on_both_sides_is_refused(tmp_path: Path) -> None:
    clips = clips_of(
        tmp_path,
        "a.opus,nemo,train,n1,male,pl,sad,,,x,1.0,16000",
        "b.opus,nemo,test,n1,male,pl,sad,,,x,1.0,16000",
    )
    with pytest.raises(SpeakerLeakError, match=r"1 speaker\(s\) .* \(n1\)"):
        splits(clips, Protocol("given", ("nemo",)))


def test_speech_bounds_enter_high_and_stay_low() -> None:
    import numpy as np

    line = np.array([0.1, 0.4, 0.6, 0.35, 0.1, 0.4, 0.2], np.float32)
    assert speech_bounds(line, 7 * 512) == (2 * 512, 6 * 512)
    assert speech_bounds(np.zeros(7, np.float32), 3500) == (0, 3500)


@pytest.mark.corpus
def test_the_given_splits_share_no_speaker(corpora: Path) -> None:
    clips = read_clips(corpora)
    for kind in ("given", "speaker_folds", "leave_one_corpus_out"):
        assert splits(clips, Protocol(kind))
    masks = label_masks(clips)
    assert set(masks) == {*TRAINING_CORPORA, "tess"}
    assert [LABELS[i] for i in range(7) if not masks["nemo"][i]] == ["disgust"]


def test_columns_that_nobody_has_may_be_missing(tmp_path: Path) -> None:
    text = "file,corpus,split,speaker,emotion,valence,arousal,dominance\n"
    (tmp_path / "speech.csv").write_text(
        text + "a.wav,mine,test,me,sad,0.1,0.2,0.3\nb.wav,mine,test,me,happy,,,\n"
    )
    first, second = read_clips(tmp_path)
    assert (first.affect, second.affect) == ((0.1, 0.2, 0.3), None)
    assert (first.sex, first.text, first.votes) == ("", "", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no speech.csv; give --data the folder that does"),
        (HEADER + "\n", "names no clip with an emotion that is known"),
        ("file,corpus\n", "has no column 'split'; it needs file, corpus, split, speaker, emotion"),
        (
            "file,corpus,split,speaker,emotion,valence,arousal,dominance\n"
            "a.wav,mine,test,me,sad,low,0,0\n",
            "a.wav: could not convert .* ratings are 0 to 1",
        ),
    ],
)
def test_a_table_that_is_wrong_says_how(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "speech.csv").write_text(text)
    with pytest.raises(ExportError, match=message):
        read_clips(tmp_path)
