"""Licensed corpora, in small made-up folders of their published layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("soxr")
pytest.importorskip("soundfile")

from realtime_ser_export.errors import ExportError
from realtime_ser_export.papers.readers import READERS, read_corpus
from realtime_ser_export.papers.tv_debates import (
    agreed,
    arousal_class,
    dominance_class,
    valence_class,
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_iemocap(tmp_path: Path) -> None:
    dialog = tmp_path / "Session5" / "dialog"
    write(
        dialog / "EmoEvaluation" / "Ses05F_impro01.txt",
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        "[6.2901 - 8.2357]\tSes05F_impro01_F000\tneu\t[3.0000, 1.0000, 5.0000]\n"
        "C-E2:\tNeutral;\t()\n\n"
        "[10.0100 - 11.3925]\tSes05F_impro01_M001\tfru\t[2.5000, 2.5000, 2.5000]\n",
    )
    write(
        dialog / "transcriptions" / "Ses05F_impro01.txt",
        "Ses05F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        "M: laughter\n"
        "Ses05F_impro01_M001 [010.0100-011.3925]: Yeah.\n",
    )
    first, second = read_corpus("iemocap", tmp_path)
    assert first.emotion == "neu"
    assert first.text == "Excuse me."
    assert first.affect == (0.5, 0.0, 1.0)
    assert (first.sex, first.speaker, first.split) == ("female", "iemocap-5F", "test")
    assert first.path.parts[-5:] == (
        "Session5", "sentences", "wav", "Ses05F_impro01", "Ses05F_impro01_F000.wav",
    )  # fmt: skip
    assert (second.sex, second.emotion, second.text) == ("male", "fru", "Yeah.")


@pytest.mark.parametrize("name", ["DC/sa03.wav", "flat/DC_sa03.wav"])
def test_savee_in_both_layouts(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "Info.txt")
    (recording,) = read_corpus("savee", tmp_path)
    assert (recording.emotion, recording.speaker) == ("sad", "savee-DC")


def test_savee_tells_a_from_s(tmp_path: Path) -> None:
    touch(tmp_path, "KL/a01.wav", "KL/su01.wav", "JK/n30.wav")
    found = {r.path.stem: (r.emotion, r.split) for r in read_corpus("savee", tmp_path)}
    assert found == {
        "a01": ("angry", "test"), "su01": ("surprised", "test"), "n30": ("neutral", "dev"),
    }  # fmt: skip


def test_emofilm_keeps_a_scene_together(tmp_path: Path) -> None:
    touch(tmp_path, "f_ans001aen.wav", "f_ans001aes.wav", "m_gio017bit.wav", "notes.wav")
    found = read_corpus("emofilm", tmp_path)
    assert [(r.emotion, r.language, r.sex) for r in found] == [
        ("fear", "en", "female"), ("fear", "es", "female"), ("happiness", "it", "male"),
    ]  # fmt: skip
    assert found[0].speaker == found[1].speaker != found[2].speaker


def test_ses_and_aesi(tmp_path: Path) -> None:
    touch(tmp_path, "ses/Alegria/p1.wav", "ses/Enfado/p1.wav", "aesi/joy/s07/12.wav")
    write(tmp_path / "ses" / "Alegria" / "p1.txt", "Hola.\n")
    glad, angry = read_corpus("ses", tmp_path / "ses")
    assert (glad.emotion, glad.text, glad.language) == ("happiness", "Hola.", "es")
    assert (angry.emotion, angry.text) == ("anger", "")
    assert glad.speaker == angry.speaker
    (greek,) = read_corpus("aesi", tmp_path / "aesi")
    assert (greek.emotion, greek.speaker, greek.language) == ("happiness", "aesi-s07", "el")


def test_meacorpus_finds_the_sound_of_a_row(tmp_path: Path) -> None:
    write(
        tmp_path / "spanish-meacorpus-2023-dataset.csv",
        "filename,label,transcription,split\n"
        'a-1.mp3,anger,"No, señor.",train\nb-2.mp3,joy,Bien.,test\n',
    )
    touch(tmp_path, "segments/a-1.wav")
    there, text_alone = read_corpus("meacorpus", tmp_path)
    assert there.path.name == "a-1.wav"
    assert (there.text, there.emotion, there.split) == ("No, señor.", "anger", "train")
    assert not text_alone.path.exists()


def test_tv_debates_average_and_agree(tmp_path: Path) -> None:
    head = "file,speaker,sex,text,annotator,emotion,valence,arousal,dominance\n"
    answers = [
        ("Calm", 1, 0, 1), ("Calm", 0, 0, 1), ("Calm", 0.5, 0.5, 0.5), ("Upset", 0.5, 0, 1),
        ("Worried", 0, 0, 0),
    ]  # fmt: skip
    rows = "".join(
        f"1.wav,7,male,Por eso,{n},{e},{v},{a},{d}\n" for n, (e, v, a, d) in enumerate(answers)
    )
    write(tmp_path / "annotations.csv", head + rows)
    (recording,) = read_corpus("tv_debates", tmp_path)
    assert recording.emotion == "Calm"  # 3 of 5 are 60 %
    assert recording.affect == pytest.approx((0.4, 0.1, 0.7))  # 0.4 is the paper's own example
    assert recording.path == tmp_path / "audio" / "1.wav"


def test_thresholds_of_table_2() -> None:
    assert [valence_class(v) for v in (0.4, 0.41, 0.59, 0.6)] == [0, 1, 1, 2]
    assert [arousal_class(a) for a in (0.15, 0.16)] == [0, 1]
    assert [dominance_class(d) for d in (0.75, 0.76)] == [0, 1]
    assert agreed(["Calm", "Calm", "Upset", "Upset", "Worried"]) == ""


@pytest.mark.parametrize("name", sorted(READERS))
def test_an_empty_folder_is_told_its_layout(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match=f"holds nothing of {name}; its layout must be: .{{20}}"):
        read_corpus(name, tmp_path)


def test_unknown_corpus_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no reader of 'msp'"):
        read_corpus("msp", tmp_path)
    with pytest.raises(ExportError, match="--corpus iemocap=DIR"):
        read_corpus("iemocap", tmp_path / "nowhere")
