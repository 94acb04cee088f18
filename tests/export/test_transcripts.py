"""What is said in recordings: tables of one's own, and those of the corpora."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="soundfile is not installed: pip install '.[export]'")

import soundfile

from realtime_ser_export.training.corpora import SpeakerLeakError
from realtime_ser_export.transcriber.synthesizers import (
    Manner,
    SynthesizerError,
    Voice,
    say,
)
from realtime_ser_export.transcriber.synthetic_speech import (
    ACCENTED,
    BORROWED,
    SENTENCES,
    Take,
    borrowed_takes,
    borrowed_unknown_takes,
    read_sentences,
    read_unknown,
    takes,
    unknown_takes,
    write_corpus,
)
from realtime_ser_export.transcriber.transcripts import (
    Recording,
    TranscriptError,
    plain_words,
    read_recordings,
)


def write(folder: Path, *lines: str) -> Path:
    (folder / "transcripts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_file_and_text_are_enough(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(200)]
    recordings = read_recordings(write(tmp_path, "file,text", *(f"{n},Yes" for n in names)))
    assert [each.path for each in recordings] == [str(tmp_path / name) for name in names]
    assert {(each.text, each.language, each.corpus) for each in recordings} == {
        ("Yes", "en", tmp_path.name)
    }
    dev = [each for each in recordings if each.split == "dev"]
    assert {each.split for each in recordings} == {"train", "dev"}
    assert 8 <= len(dev) <= 35


def test_all_columns_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "file,text,split,speaker,language,corpus", "a.wav,Ja,test,anna,de,kiosk")
    assert read_recordings(tmp_path) == [
        Recording(str(tmp_path / "a.wav"), "Ja", "test", "anna", "de", "kiosk")
    ]


def test_a_speaker_stays_on_one_side(tmp_path: Path) -> None:
    write(tmp_path, "file,text,split,speaker", "a.wav,Yes,train,ann", "b.wav,No,dev,ann")
    with pytest.raises(SpeakerLeakError, match="ann"):
        read_recordings(tmp_path)


def test_a_table_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match=r"neither transcripts\.csv nor speech\.csv"):
        read_recordings(tmp_path)
    with pytest.raises(TranscriptError, match="lacks the column text"):
        read_recordings(write(tmp_path, "file,words", "a.wav,Yes"))
    with pytest.raises(TranscriptError, match=r"a\.wav: split 'training' is none of train, dev"):
        read_recordings(write(tmp_path, "file,text,split", "a.wav,Yes,training"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's eleven o'clock.", "it's eleven o'clock"),
        ("It\u2019s  SO -- good!", "it's so good"),
        ("\u201eRód smoka\u201d to serial.", "ród smoka to serial"),
        ("ইন্টারনেট।", "ইন্টারনেট"),
    ],
)
def test_what_word_errors_compare(text: str, words: str) -> None:
    assert plain_words(text) == words


def test_takes_are_the_same_every_time_and_voices_keep_to_their_split() -> None:
    sentences = read_sentences(SENTENCES)
    assert len(sentences) == len(set(sentences)) > 300
    assert not any(sentence.startswith("#") for sentence in sentences)
    first, again = list(takes(sentences[:20])), list(takes(sentences[:20]))
    assert first == again
    assert len({take.file for take in first}) == len(first)
    voices = {
        split: {take.voice.speaker for take in first if take.split == split}
        for split in ("train", "dev", "test")
    }
    assert voices["train"] and voices["dev"] and voices["test"]
    assert not voices["train"] & (voices["dev"] | voices["test"])
    assert not voices["dev"] & voices["test"]


def test_what_is_not_to_be_known_is_new_and_plain(tmp_path: Path) -> None:
    lines = ["Turn on the light!", "Where did you put it?", "Where did you put it", "So what"]
    lines += ["I paid 20 for this", "SHOUTING is not plain", "see www.example.org for more"]
    lines += [" ".join(["word"] * 16), "It isn't mine, is it?"]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines))
    unknown = read_unknown(path, ["turn on the light"])
    assert unknown == ["Where did you put it?", "It isn't mine, is it?"]
    spoken = list(unknown_takes(unknown * 20))
    assert not any(take.known for take in spoken)
    assert [take.split for take in spoken].count("dev") == 4
    assert not speakers(spoken, "train") & speakers(spoken, "dev")


def speakers(spoken: list[Take], split: str) -> set[str]:
    """Whose voices speak the takes of a split."""
    return {take.voice.speaker for take in spoken if take.split == split}


@pytest.mark.parametrize("corpus", [BORROWED, ACCENTED])
def test_borrowed_voices_say_the_same_words_and_what_is_emphasised_more_often(corpus: str) -> None:
    sentences = ["Say the word back", "Hello, how are you today?", "Help!"]
    emphasis = {"Say the word": 3.0, "nemo": 2.0}
    spoken = list(borrowed_takes(corpus, sentences, emphasis))
    assert spoken == list(borrowed_takes(corpus, sentences, emphasis))
    counts = Counter(take.text for take in spoken if take.split == "train")
    assert counts[sentences[0]] == 3 * counts[sentences[1]] == 3 * counts[sentences[2]]
    assert {plain_words(take.spoken) for take in spoken} == set(map(plain_words, sentences))
    assert len({take.spoken for take in spoken}) > 2 * len(sentences)
    unknown = list(borrowed_unknown_takes(corpus, sentences * 80))
    assert not any(take.known for take in unknown)
    assert {take.corpus for take in spoken + unknown} == {corpus}


def test_who_is_kept_for_dev_is_not_heard_in_training_under_any_name() -> None:
    sentences = ["Say the word back", "Help!"] * 60
    spoken: list[Take] = []
    for corpus in (BORROWED, ACCENTED):
        spoken += [
            *borrowed_takes(corpus, sentences, {}),
            *borrowed_unknown_takes(corpus, sentences),
        ]
    assert {(take.corpus, take.known) for take in spoken if take.split == "dev"} == {
        (BORROWED, True),
        (BORROWED, False),
    }
    assert not speakers(spoken, "train") & speakers(spoken, "dev")


@pytest.mark.parametrize(
    ("program", "voice"),
    [
        ("espeak-ng", Voice("espeak-ng", "en-us+f1", "f1")),
        ("flite", Voice("flite", "slt", "slt")),
        ("RHVoice-test", Voice("rhvoice", "slt", "slt")),
        ("pico2wave", Voice("pico", "en-US", "pico-us")),
        ("mbrola", Voice("mbrola", "mb-us1", "us1")),
    ],
)
def test_a_voice_can_be_slower_and_of_another_size(program: str, voice: Voice) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    spoken = [
        len(say(voice, Manner(50, words_per_minute, size), "Say the word youth."))
        for words_per_minute, size in ((175, 1.0), (100, 1.0), (175, 1.2))
    ]
    assert spoken[1] > 1.3 * spoken[0]
    assert 0.75 * spoken[0] < spoken[2] < 1.25 * spoken[0]  # smaller, not faster
    assert spoken[2] != spoken[0]


def test_a_program_or_voice_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("espeak-ng"):
        with pytest.raises(SynthesizerError, match=r"did not speak as xx.*espeak-ng"):
            say(Voice("espeak-ng", "xx", "xx"), Manner(50, 175), "Hello.")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SynthesizerError, match=r"flite is not installed; Debian's package is"):
        say(Voice("flite", "slt", "slt"), Manner(50, 175), "Hello.")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_spoken_sentences_are_in_a_quiet_room_and_only_known_ones_are_written_down(
    tmp_path: Path,
) -> None:
    [*known] = takes(["Hello, how are you today?"])
    unknown = next(unknown_takes(["Nobody told me that."]))
    write_corpus(tmp_path, [known[0], unknown])
    assert [each.text for each in read_recordings(tmp_path)] == [known[0].text, ""]
    samples, rate = soundfile.read(tmp_path / known[0].file)
    assert rate == 16_000
    pauses = np.concatenate([samples[:7_000], samples[-5_000:]])
    assert 0 < np.abs(pauses).max() < np.abs(samples).max() / 5


@pytest.mark.corpus
def test_the_corpora_have_their_texts_and_tess_is_only_measured(corpora: Path) -> None:
    recordings = read_recordings(corpora)
    texts = {}
    for each in recordings:
        texts.setdefault(each.corpus, set()).add(each.text)
    sizes = {corpus: len(found) for corpus, found in texts.items()}
    assert sizes == {
        "cremad": 12, "ravdess": 2, "tess": 100, "emodb": 10, "nemo": 90, "banglaser": 1,
    }  # fmt: skip
    assert texts["banglaser"] == {""}
    assert {each.split for each in recordings if each.corpus == "tess"} == {"test"}
    spoken = set(map(plain_words, read_sentences()))
    assert set(map(plain_words, texts["tess"])) <= spoken
