"""Runs on a made-up corpus: trained, gone on with, measured, compared; by the verbs, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from tiny_corpus import CORPORA, OF_CORPUS, write_tiny_corpus, write_tiny_encoder

from realtime_ser_export.cli import main
from realtime_ser_export.encoder_folder import EncoderRecord, Source, write_record
from realtime_ser_export.errors import ExportError
from realtime_ser_export.text.corpora import TextRow
from realtime_ser_export.training.context import StageContext
from realtime_ser_export.training.corpora import LABELS, read_clips
from realtime_ser_export.training.report import report
from realtime_ser_export.training.run import Places, evaluate_run, train_run
from realtime_ser_export.training.run_folder import read_run
from realtime_ser_export.training.run_recipe import RunRecipe, recipe_of
from realtime_ser_export.training.text_evaluation import TextSubject, evaluate_text

TRAINED = ("cremad", "ravdess", "nemo")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_corpus(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def evaluated(
    data: Path, cache: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The encoder's evaluation under the given splits."""
    out = tmp_path_factory.mktemp("evaluated") / "tiny"
    assert main(verb("evaluate", encoder, data, cache, "--out", out)) == 0
    return out


def verb(name: str, subject: object, data: Path, cache: Path, *more: object) -> list[str]:
    places = ["--data", data, "--work", cache]
    if name == "evaluate" and "--corpora" not in more:
        more = (*more, "--corpora", ",".join(TRAINED))
    return [name, *map(str, [subject, *places, *more])]


def document_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return content


def test_every_figure_is_there(evaluated: Path) -> None:
    document = document_of(evaluated)
    assert set(document["corpora"]) == set(CORPORA)
    for corpus, found in document["corpora"].items():
        assert found["unseen"] == (corpus == "tess")
        assert found["classes"] == len(OF_CORPUS[corpus])
        # Half of the clips are as loud as the next label: those are wrong, but for one that
        # would be loudest and whose loudness no label of the corpus has or the corpus lacks.
        assert 0.4 <= found["weighted_accuracy"] <= 0.75
        recall = found["unweighted_average_recall"]
        assert recall["low"] <= recall["value"] <= recall["high"]
        # Only of TESS, which is measured whole, there are more than one speaker or two.
        assert (found["over_speakers"] is not None) == (corpus == "tess")
        assert sum(map(sum, found["confusion"])) == found["count"]
        assert [p["seconds"] for p in found["after_seconds"]] == [0.5, 1.0, 2.0, 3.0, None]
        assert set(found["of_sex"]["recall"]) <= {"male", "female"}
    recalls = [document["corpora"][c]["unweighted_average_recall"]["value"] for c in TRAINED]
    assert document["mean"]["unweighted_average_recall"] == pytest.approx(np.mean(recalls))
    assert document["mean"]["gap"] == pytest.approx(max(recalls) - min(recalls))
    assert document["pooled"]["count"] == sum(document["corpora"][c]["count"] for c in TRAINED)
    assert 0 <= document["pooled"]["calibration_error"] <= 1
    assert document["subject"]["text"] == "not read"


def test_sounds_that_nobody_acted_are_answered_too(evaluated: Path) -> None:
    sounds = document_of(evaluated)["sounds"]
    assert set(sounds) == {"read_speech", "noise", "silence"}
    assert sounds["read_speech"]["top"]["neutral"] == 1.0  # as loud as *neutral* is
    assert sounds["noise"]["top"]["angry"] == 1.0
    for found in sounds.values():
        assert found["abstained"] + sum(found["answered"].values()) == pytest.approx(1.0)


def test_the_predictions_are_kept(evaluated: Path, data: Path) -> None:
    with np.load(evaluated / "predictions.npz", allow_pickle=False) as kept:
        files, scores = kept["clip"], kept["scores"]
        assert scores.shape == (len(files), len(LABELS))
        assert kept["scores_after_1_s"].shape == scores.shape
    of_file = {clip.file: clip for clip in read_clips(data)}
    assert {of_file[file].split for file in files if not file.startswith("tess")} == {"test"}


def test_report_and_plots_are_there(evaluated: Path) -> None:
    report = (evaluated / "report.md").read_text(encoding="utf-8")
    assert "| CREMA-D | 12 | 6 |" in report
    assert "| TESS (never seen) | 70 | 7 |" in report
    for plot in ("confusion.png", "reliability.png", "after_seconds.png"):
        assert (evaluated / plot).read_bytes().startswith(b"\x89PNG")
    assert str(evaluated.parent) not in report


def test_it_is_the_same_every_time(
    evaluated: Path, data: Path, cache: Path, encoder: Path, tmp_path: Path
) -> None:
    assert main(verb("evaluate", encoder, data, cache, "--out", tmp_path / "again")) == 0
    for name in ("metrics.json", "report.md", "confusion.png"):
        assert (tmp_path / "again" / name).read_bytes() == (evaluated / name).read_bytes(), name


def test_a_model_with_fewer_labels_is_measured_on_those(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    encoder = write_tiny_encoder(tmp_path / "four", ("angry", "happy", "neutral", "sad"))
    assert main(verb("evaluate", encoder, data, cache, "--out", tmp_path / "out")) == 0
    found = document_of(tmp_path / "out")["corpora"]["ravdess"]
    assert (found["classes"], found["not_among_labels"]) == (4, 6)
    strange = write_tiny_encoder(tmp_path / "strange", LABELS)
    record = (strange / "encoder.json").read_text(encoding="utf-8")
    (strange / "encoder.json").write_text(record.replace('"sad"', '"bored"'), encoding="utf-8")
    assert main(verb("evaluate", strange, data, cache, "--out", tmp_path / "no")) == 4


@pytest.mark.parametrize(
    ("kind", "count", "dependent"),
    [("speaker_folds", 2 * (6 + 7 + 6) * 5, False), ("stratified", None, True)],
)
def test_other_protocols(
    kind: str,
    count: int | None,
    dependent: bool,
    data: Path,
    cache: Path,
    encoder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    assert main(verb("evaluate", encoder, data, cache, "--out", out, "--protocol", kind)) == 0
    document = document_of(out)
    assert document["protocol"]["speaker_dependent"] == dependent
    if count is not None:  # every clip, once
        assert document["pooled"]["count"] == count
    assert ("**Speaker-dependent**" in (out / "report.md").read_text()) == dependent


def test_a_bundle_is_measured_with_text_and_without(
    data: Path, cache: Path, small_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(verb("evaluate", small_bundle, data, cache, "--out", out)) == 0
    document = document_of(out)
    assert document["subject"]["text"] == "given"
    assert document["calibration"][0]["source"] == "bundle"
    without, given = document["without_text"]["corpora"], document["corpora"]
    # nEMO has no texts here, the others have: only they can differ.
    assert without["nemo"]["confusion"] == given["nemo"]["confusion"]
    assert without["cremad"]["confusion"] != given["cremad"]["confusion"]
    assert "arousal_tells_intensity" in given["ravdess"]
    assert main(verb("evaluate", small_bundle, data, cache, "--out", out, "--text", "missing")) == 0
    missing = document_of(out)
    assert missing["subject"]["text"] == "missing"
    assert missing["corpora"]["cremad"]["confusion"] == without["cremad"]["confusion"]


def test_a_text_encoder_is_measured_on_sentences(small_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(small_bundle / "text", folder)
    part = json.loads((small_bundle / "bundle.json").read_text(encoding="utf-8"))["parts"]["text"]
    part[0] |= {"file": "model.onnx", "tokenizer": "tokenizer.json"}
    source = Source("tiny", None, "Tiny", "tiny", "CC0-1.0", "0" * 64)
    write_record(EncoderRecord("text", source, "float32", 17, {}, {}, part[0]), folder)
    nan = float("nan")
    rows = [
        TextRow(text, corpus, "en", split, labels, affect)
        for split in ("dev", "test")
        for text, corpus, labels, affect in [
            ("what a day", "meld", ("joy",), (nan, nan, nan)),
            ("what", "meld", ("anger",), (nan, nan, nan)),
            ("lovely day", "goemotions", ("joy", "love"), (nan, nan, nan)),  # both are happy
            ("lovely", "goemotions", ("joy", "anger"), (nan, nan, nan)),  # two of the seven
            ("a day", "emobank", (), (0.5, 0.4, nan)),
        ]
    ]
    subject = TextSubject(folder)
    found, sentences = evaluate_text(subject, rows)
    counts = {name: row["count"] for name, row in found.document["corpora"].items()}
    assert counts == {"goemotions": 1, "meld": 2}
    assert found.document["calibration"][0]["source"] == "dev"
    assert found.document["ratings"] == {}  # this one has no affect
    expected = [subject.read([rows[i].text]).scores.argmax() for i in (5, 6, 7)]
    assert found.predictions.scores.argmax(1).tolist() == expected
    assert [sentences[i].text for i in found.predictions.indices] == [
        *("what a day", "what", "lovely day")
    ]
    assert "| meld | 2 | 2 |" in report(found.document)


def test_comparing(
    evaluated: Path, data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_tiny_encoder(tmp_path / "fewer", ("angry", "sad", "happy", "neutral"))
    assert main(verb("evaluate", other, data, cache, "--out", tmp_path / "other")) == 0
    capsys.readouterr()
    out = tmp_path / "compared"
    arguments = ["compare", str(evaluated), str(tmp_path / "other"), "--out", str(out)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "| | tiny | other |" in text
    assert "| UA nEMO |" in text
    assert (out / "comparison.md").read_text(encoding="utf-8") == text
    assert (out / "comparison.png").is_file()
    # Against itself under another name: no difference, and sure of it.
    shutil.copytree(evaluated, tmp_path / "copy")
    assert main(["compare", str(evaluated), str(tmp_path / "copy")]) == 0
    assert "+0.0 | +0.0 to +0.0 |" in capsys.readouterr().out


def test_features_are_what_the_graphs_say(
    data: Path, cache: Path, encoder: Path, small_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features.npz"
    assert main(verb("features", small_bundle, data, cache, "--out", out)) == 0
    with np.load(out, allow_pickle=False) as first:
        names, clips = set(first), read_clips(data)
        assert {"audio_embedding", "audio_logits", "text_embedding", "text_present"} <= names
        assert first["clip"].tolist() == [clip.file for clip in clips]
        assert first["text_present"].tolist() == [float(bool(clip.text)) for clip in clips]
        assert not first["text_embedding"][first["text_present"] == 0].any()
        kept = {name: first[name] for name in names}
    assert main(verb("features", small_bundle, data, cache, "--out", out)) == 0  # from the cache
    with np.load(out, allow_pickle=False) as again:
        assert all(np.array_equal(again[name], kept[name]) for name in names)
    assert main(verb("features", encoder, data, cache, "--out", out, "--seconds", "0.1")) == 0
    with np.load(out, allow_pickle=False) as short:
        assert short["audio_embedding"].shape == (len(clips), 2)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["evaluate", "ENCODER", "--data", "nowhere", "--out", "x"], 4, "holds no speech.csv"),
        (["evaluate", "nothing", "--data", "DATA", "--out", "x"], 4, "no run, encoder folder or"),
        (["evaluate", "ENCODER", "--data", "DATA"], 4, "--out is missing"),
        (
            ["evaluate", "ENCODER", "--data", "DATA", "--out", "x", "--corpora", "iemocap"],
            4,
            "no clip of iemocap; there are",
        ),
        (["compare", "ENCODER"], 4, "run `realtime-ser-export evaluate` first"),
        (["train", "nothing", "--data", "DATA", "--out", "x"], 4, "no recipe 'nothing'"),
        (["features", "nothing", "--data", "DATA", "--out", "x"], 4, "has no encoder.json"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    data: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"ENCODER": str(encoder), "DATA": str(data)}
    assert main([given.get(argument, argument) for argument in arguments]) == code
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1] and said[-1].startswith("realtime-ser-export: error: ")


def recipe(**more: Any) -> RunRecipe:
    return recipe_of({"name": "tiny", "audio": {}, "data": {"corpora": TRAINED}, **more}, "test")


def stage(seen: list[StageContext]) -> Callable[[Any, StageContext], None]:
    """A stage that has nothing to learn."""

    def train(_settings: Any, context: StageContext) -> None:
        seen.append(context)
        context.progress.step(1, 1, loss=0.5)
        context.progress.record(step=1, dev_recall=0.25)
        write_tiny_encoder(context.encoder)

    return train


def test_a_run_is_trained_measured_and_gone_on_with(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    seen: list[StageContext] = []
    places, out = Places(data, cache), tmp_path / "run"
    train_run(recipe(), out, places, stages={"audio": stage(seen)})
    (context,) = seen
    assert context.folder == out / "audio" and context.resume and context.readers == ()
    assert {context.clips[i].split for i in context.split.train} == {"train"}
    assert {context.clips[i].corpus for i in context.split.train} == set(TRAINED)
    lines = (out / "audio" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {"step": 1, "dev_recall": 0.25}
    run = read_run(out)
    assert run.recipe["audio"]["steps"] == 5000  # defaults are filled in
    assert run.splits == ["given"] and "torch" in run.versions
    assert str(tmp_path) not in (out / "run.json").read_text(encoding="utf-8")
    train_run(recipe(), out, places, stages={"audio": stage(seen)})  # goes on
    document = evaluate_run(out, places).document
    assert json.loads(json.dumps(document)) == document_of(out / "evaluation")
    assert document["subject"]["name"] == "tiny"
    assert document["corpora"]["tess"]["unseen"]


def test_a_run_of_another_recipe_is_left_alone(data: Path, cache: Path, tmp_path: Path) -> None:
    places, out, stages = Places(data, cache), tmp_path / "run", {"audio": stage([])}
    train_run(recipe(), out, places, stages=stages)
    other = recipe(seed=7, audio={"steps": 9})
    with pytest.raises(ExportError, match=r"another value of seed, audio\.steps"):
        train_run(other, out, places, stages=stages)
    train_run(other, out, places, allow_changes=True, stages=stages)
    assert [before["seed"] for before in read_run(out).earlier] == [1]
    assert len((out / "audio" / "history.jsonl").read_text().splitlines()) == 2
    train_run(recipe(), out, places, afresh=True, stages=stages)
    assert read_run(out).earlier == []
    assert len((out / "audio" / "history.jsonl").read_text().splitlines()) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ExportError, match=r"holds no run\.json"):
        train_run(recipe(), tmp_path / "mine", places, afresh=True, stages=stages)


def test_each_split_of_a_protocol_is_a_run_of_its_own(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    seen: list[StageContext] = []
    places, out = Places(data, cache), tmp_path / "run"
    left_out = recipe(
        protocol={"kind": "leave_one_corpus_out"},
        data={"corpora": TRAINED, "extra": ["readers", "noises"]},
    )
    train_run(left_out, out, places, stages={"audio": stage(seen)})
    names = [f"without-{corpus}" for corpus in TRAINED]
    assert [context.folder.parent.name for context in seen] == names
    assert seen[0].readers and seen[0].noises
    assert not {path.name for path in seen[0].readers} & HELD_OUT_READERS
    document = evaluate_run(out, places).document
    assert document["protocol"]["splits"] == names
    assert len(document["calibration"]) == 3
    assert set(document["corpora"]) == set(TRAINED)
    # Without RAVDESS nobody trains on *disgust and surprised* together, but each on its own.
    assert document["corpora"]["ravdess"]["not_among_labels"] == 0
    shutil.rmtree(out / names[1])
    with pytest.raises(ExportError, match="neither a bundle nor an audio encoder yet"):
        evaluate_run(out, places)


HELD_OUT_READERS = {f"{reader}-1-0001.flac" for reader in (0, 1, 4, 5, 6, 7)}


def test_a_run_needs_somebody_to_train_on(data: Path, cache: Path, tmp_path: Path) -> None:
    only = tmp_path / "data"
    shutil.copytree(data, only)
    text = (only / "speech.csv").read_text().replace(",dev,", ",test,")
    (only / "speech.csv").write_text(text)
    with pytest.raises(ExportError, match="0 to choose on"):
        train_run(recipe(), tmp_path / "run", Places(only, cache), stages={"audio": stage([])})


def test_a_recording_that_is_not_there_is_named(
    data: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = tmp_path / "data"
    shutil.copytree(data, only)
    out = ["--out", str(tmp_path / "out")]
    for damage, message in ((Path.unlink, "is not there"), (_empty, "cannot be read")):
        damage(only / "speech" / "nemo" / "4-0.flac")
        assert main([*verb("evaluate", encoder, only, tmp_path / "cache"), *out]) == 4
        assert f"4-0.flac {message}" in capsys.readouterr().err


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def test_the_verb_measures_a_run_by_its_own_protocol(
    data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train_run(recipe(), out, Places(data, cache), stages={"audio": stage([])})
    places = ["--data", str(data), "--work", str(cache)]
    assert main(["evaluate", str(out), *places]) == 0
    assert "| nEMO | 12 | 6 |" in capsys.readouterr().out
    assert main(["evaluate", str(out), *places, "--protocol", "given"]) == 4
    assert "measured by its own protocol" in capsys.readouterr().err


TINY_NETWORK = {"stem_channels": 4, "width": 16, "blocks": 1, "heads": 2, "embedding": 8}


def test_a_real_stage_by_the_verbs(
    data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    path, out = tmp_path / "tiny.toml", tmp_path / "run"
    path.write_text('name = "tiny"\n[data]\ncorpora = ["cremad", "nemo"]\n[audio]\n')
    places = ["--data", str(data), "--work", str(cache)]
    sizes = {"steps": 8, "batch_size": 4, "evaluate_every": 8, "computed_noises": 2}
    sizes |= {f"network.{name}": value for name, value in TINY_NETWORK.items()}
    changes = [word for key, value in sizes.items() for word in ("--set", f"audio.{key}={value}")]
    arguments = ["train", str(path), *places, "--out", str(out)]
    assert main([*arguments, *changes]) == 0
    assert main(arguments) == 4
    assert "another value of audio.steps, audio.batch_size" in capsys.readouterr().err
    assert main(["evaluate", str(out), *places]) == 0
    document = document_of(out / "evaluation")
    assert set(document["corpora"]) == set(CORPORA)
    assert document["corpora"]["ravdess"]["unseen"]
    # RAVDESS' *surprised* and *disgust* were trained on: in nEMO and in CREMA-D.
    assert document["corpora"]["ravdess"]["not_among_labels"] == 0
    encoder, kept = str(out / "audio" / "encoder"), str(tmp_path / "kept.npz")
    assert main(["features", encoder, *places, "--out", kept]) == 0
    with np.load(kept, allow_pickle=False) as features:
        assert features["audio_embedding"].shape == (len(read_clips(data)), 8)
