"""Recipes become bundles that the product serves: the whole chain, with tiny random weights."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum.exporters.onnx", reason="optimum-onnx is not installed")

import soundfile
from safetensors.torch import save_file

from realtime_ser.cli import main as realtime_ser
from realtime_ser.models.analyzer import BundleAnalyzer
from realtime_ser.models.bundle import Bundle, load_bundle
from realtime_ser.models.bundle_description import Role
from realtime_ser.models.ort import choose_provider
from realtime_ser.samples import sample_path
from realtime_ser.types import AnalysisJob, JobKind, Samples, Transcript, Utterance
from realtime_ser_export.bundles.compose_bundle import Ingredients, compose
from realtime_ser_export.bundles.fusion_head import build_head
from realtime_ser_export.bundles.place_encoder import export_encoder, place
from realtime_ser_export.bundles.recipe import read_recipe
from realtime_ser_export.bundles.recipe_description import AffectRecipe, Recipe
from realtime_ser_export.cli import main
from realtime_ser_export.encoder_folder import read_record, write_record
from realtime_ser_export.errors import ExportError
from realtime_ser_export.graphs.parity import with_error
from realtime_ser_export.graphs.quantize import quantize
from realtime_ser_export.graphs.served import serve_folder
from realtime_ser_export.huggingface.audio import load_audio
from realtime_ser_export.huggingface.random_models import FAMILIES
from realtime_ser_export.huggingface.text import load_text

AUDIO_FAMILIES = [name for name, family in FAMILIES.items() if family.modality == "audio"]
TEXT_FAMILIES = [name for name, family in FAMILIES.items() if family.modality == "text"]

RandomFolder = Callable[..., Path]
Floats = NDArray[np.float64]

SUPERB = ("neu", "hap", "ang", "sad")
SEVEN = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
EKMAN = ("sadness", "joy", "anger", "neutral", "disgust", "fear")
DEBATE = ("worried", "calm", "upset")
"""Not in the order of the recipe, on purpose."""
TWO = {"ang": "angry", "sad": "sad", "neu": "sad"}
SENTENCE = "I can't believe that we actually won the game!"

# Families and heads that stand for the models of each recipe.
STANDING_IN: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "english-superb-distilroberta-audeering": {
        "audio": ("hubert", {"head": "classification", "labels": SUPERB}),
        "dimensional": ("wav2vec2", {"head": "regression"}),
        "text": ("roberta", {"head": "classification", "labels": SEVEN}),
    },
    "spanish-unispeech-sat-distilbert": {
        "audio": ("unispeech-sat", {"head": "classification", "labels": DEBATE}),
        "text": ("distilbert", {"head": "classification", "labels": DEBATE[::-1]}),
    },
    "english-hubert-bert": {"audio": ("hubert", {}), "text": ("bert", {})},
    "spanish-beto-mfcc": {"text": ("bert", {})},
    "spanish-wav2vec2-beto": {
        "audio": ("wav2vec2", {"head": "classification", "labels": EKMAN}),
        "text": ("bert", {"head": "classification", "labels": EKMAN[::-1]}),
    },
    "multilingual-xlsr-xlmr": {"audio": ("wav2vec2", {}), "text": ("xlm-roberta", {})},
}


@pytest.fixture(scope="module")
def ingredients(random_folder: RandomFolder) -> Callable[[Recipe], Ingredients]:
    """Models with random weights for all parts of a recipe, and a head where it needs one."""

    def given(recipe: Recipe) -> Ingredients:
        models = {
            part: str(random_folder(family, **options))
            for part, (family, options) in STANDING_IN[recipe.name].items()
        }
        return Ingredients(models=models, untrained_fusion=recipe.fusion.method == "concatenation")

    return given


@pytest.fixture(scope="module")
def composed(
    tmp_path_factory: pytest.TempPathFactory, ingredients: Callable[[Recipe], Ingredients]
) -> Callable[[str], Bundle]:
    """The bundles of our recipes, each made once; read-only."""
    made: dict[str, Bundle] = {}

    def bundle(name: str) -> Bundle:
        if name not in made:
            recipe = read_recipe(name)
            out = tmp_path_factory.mktemp("bundles") / name
            made[name] = compose(recipe, out, ingredients(recipe))
        return made[name]

    return bundle


@pytest.fixture(scope="module")
def encoders(
    tmp_path_factory: pytest.TempPathFactory, random_folder: RandomFolder
) -> Mapping[str, Path]:
    """An encoder folder of each modality."""
    folder = tmp_path_factory.mktemp("encoders")
    voice = random_folder("hubert", head="classification", labels=SUPERB)
    assert main(["audio", str(voice), "--out", str(folder / "audio")]) == 0
    assert main(["text", str(random_folder("minilm")), "--out", str(folder / "text")]) == 0
    return {name: folder / name for name in ("audio", "text")}


def heard(name: str = "short") -> NDArray[np.int16]:
    samples, _ = soundfile.read(sample_path(name), dtype="int16")
    return np.asarray(samples)


class Said:
    """A transcriber that hears one sentence in everything, or nothing."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def transcribe(self, samples: Samples) -> Transcript | None:
        return None if self.text is None else Transcript(self.text, "en", -0.1, 0.01)

    def warm_up(self) -> None:
        pass


def answer(bundle: Bundle, text: str | None = SENTENCE) -> tuple[Floats, Floats]:
    """Probabilities [labels] and affect [3] of the recording `short`, as served."""
    analyzer = BundleAnalyzer(bundle, choose_provider("cpu"), threads=1, transcriber=Said(text))
    samples = heard()
    utterance = Utterance(0, 0, len(samples), samples, len(samples))
    (analysis,) = analyzer.analyze([AnalysisJob(0, utterance, 0, JobKind.FINAL)])
    affect = analysis.affect
    return (
        np.array(analysis.emotion.probabilities),
        np.array([affect.valence, affect.arousal, affect.dominance]),
    )


@pytest.mark.parametrize("name", STANDING_IN)
def test_every_recipe_becomes_a_bundle_that_is_served(
    composed: Callable[[str], Bundle],
    whisper_folder: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    bundle = composed(name)
    recipe = read_recipe(name)
    assert [part.name for part in bundle.description.parts if part.name != "fusion"] == [
        part.name for part in recipe.parts
    ]
    assert bundle.description.labels == recipe.labels
    assert bundle.description.files["golden.npz"].bytes < 200_000
    assert realtime_ser(["models", "verify", str(bundle.path)]) == 0
    capsys.readouterr()
    arguments = ["--bundle", str(bundle.path), "--asr", str(whisper_folder), "--json"]
    assert realtime_ser(["file", str(sample_path("short")), *arguments]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (final,) = [event for event in events if event["type"] == "emotion.final"]
    assert final["modalities"] == ["audio", "text"]
    assert set(final["emotion"]["probabilities"]) == set(recipe.labels)


def softmax(logits: NDArray[Any]) -> Floats:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(weights / weights.sum())


def test_the_public_combination_answers_as_the_original_models_do(
    composed: Callable[[str], Bundle], random_folder: RandomFolder
) -> None:
    """From transformers' own models to served probabilities: labels grouped by hand."""
    name = "english-superb-distilroberta-audeering"
    folders = {
        part: random_folder(family, **options)
        for part, (family, options) in STANDING_IN[name].items()
    }
    waveform = heard().astype(np.float32) / 32768
    voice = softmax(load_audio(folders["audio"]).reference(waveform)["logits"])
    words = softmax(load_text(folders["text"]).reference(SENTENCE)["logits"])
    by_voice = [voice[SUPERB.index(own)] for own in ("ang", "hap", "neu", "sad")]
    by_words = np.array([words[SEVEN.index(own)] for own in ("anger", "joy", "neutral", "sadness")])
    rated = load_audio(folders["dimensional"], affect_range=(0, 1)).reference(waveform)
    arousal, dominance, valence = rated["affect"]
    probabilities, affect = answer(composed(name))
    expected = (np.array(by_voice) + by_words / by_words.sum()) / 2
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(affect, np.clip([valence, arousal, dominance], 0, 1), atol=1e-4)
    alone, _ = answer(composed(name), None)
    np.testing.assert_allclose(alone, by_voice, atol=1e-4)


def test_the_maximum_takes_two_changed_lines(
    tmp_path: Path, random_folder: RandomFolder, ingredients: Callable[[Recipe], Ingredients]
) -> None:
    """As the comment in the recipe says."""
    recipe = read_recipe("spanish-wav2vec2-beto")
    text = recipe.file.read_text(encoding="utf-8").replace('method = "mean"', 'method = "maximum"')
    text = text.replace("tolerance = 0.001\n", 'tolerance = 0.001\nembedding = "logits"\n')
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    given = ingredients(recipe)
    bundle = compose(read_recipe(tmp_path / "mine.toml"), tmp_path / "bundle", given)
    waveform = heard().astype(np.float32) / 32768
    voice = softmax(load_audio(Path(given.models["audio"])).reference(waveform)["logits"])
    words = softmax(load_text(Path(given.models["text"])).reference(SENTENCE)["logits"])
    order = ("anger", "disgust", "fear", "joy", "neutral", "sadness")
    both = [max(voice[EKMAN.index(own)], words[EKMAN[::-1].index(own)]) for own in order]
    probabilities, _ = answer(bundle)
    np.testing.assert_allclose(probabilities, np.array(both) / sum(both), atol=1e-4)


def test_a_trained_head_is_used(tmp_path: Path, encoders: Mapping[str, Path]) -> None:
    """Embeddings side by side and one layer, by hand, from the weights in the file."""
    recipe = read_recipe("english-hubert-bert")
    head = build_head(recipe.fusion, 32, 32, len(recipe.labels))
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    given = Ingredients(encoders=encoders, fusion_weights=tmp_path / "head.safetensors")
    bundle = compose(recipe, tmp_path / "bundle", given)
    assert "UNTRAINED" not in bundle.description.description
    analyzer = BundleAnalyzer(bundle, choose_provider("cpu"), threads=1)
    audio = analyzer.audio[0].hear([heard()]).embedding
    text = analyzer.text[0].read([SENTENCE]).embedding
    assert audio is not None and text is not None
    joined = np.concatenate([audio[0], text[0], [1]])
    weights = {name: value.numpy() for name, value in head.state_dict().items()}
    logits = weights["layers.1.weight"] @ joined + weights["layers.1.bias"]
    np.testing.assert_allclose(answer(bundle)[0], softmax(logits), atol=1e-4)


@pytest.mark.parametrize("precision", ["float16", "int8-dynamic"])
def test_a_recipe_in_another_precision(
    tmp_path: Path, encoders: Mapping[str, Path], precision: str
) -> None:
    """Labels map alike on top of half precision and of 8 bits; the bundle is tried as any other."""
    recipe = read_recipe("spanish-wav2vec2-beto")
    changes = {"precision": precision, "tolerance": 0.5}
    voice = {"labels": MappingProxyType(TWO), "dropped": ("hap",), **changes}
    changed = replace_part(recipe, "audio", **voice)
    points = MappingProxyType({"angry": (0.2, 0.8, 0.6), "sad": (0.2, 0.4, 0.3)})
    changed = dataclasses.replace(
        changed, text=(), labels=("angry", "sad"), affect=AffectRecipe(None, points, "made up")
    )
    bundle = compose(
        changed, tmp_path / "bundle", Ingredients(encoders={"audio": encoders["audio"]})
    )
    probabilities, _ = answer(bundle)
    own = serve_folder(encoders["audio"]).expert.run([heard().astype(np.float32) / 32768])
    four = softmax(own["logits"][0])
    angry = four[SUPERB.index("ang")]
    sad = four[SUPERB.index("sad")] + four[SUPERB.index("neu")]
    np.testing.assert_allclose(probabilities, np.array([angry, sad]) / (angry + sad), atol=0.05)
    assert f"| {precision} |" in bundle.file("MODEL_CARD.md").read_text(encoding="utf-8")
    assert "audio, speed:" in bundle.file("MODEL_CARD.md").read_text(encoding="utf-8")
    # Whoever brings a quantised encoder has chosen it, whatever the recipe says.
    quantize(encoders["audio"], tmp_path / "own", precision, tolerance=with_error(precision, 0.5))
    asked = dataclasses.replace(
        changed, audio=(dataclasses.replace(changed.audio[0], precision="float32"),)
    )
    brought = compose(asked, tmp_path / "again", Ingredients(encoders={"audio": tmp_path / "own"}))
    assert f"| {precision} |" in brought.file("MODEL_CARD.md").read_text(encoding="utf-8")


def test_what_is_random_or_untrained_says_so(composed: Callable[[str], Bundle]) -> None:
    bundle = composed("spanish-beto-mfcc")
    said = bundle.description.description
    assert said.startswith(
        "RANDOM WEIGHTS in text: its answers mean nothing. UNTRAINED fusion head, random weights"
    )
    card = bundle.file("MODEL_CARD.md").read_text(encoding="utf-8")
    assert said in card
    assert "| text (text) | bert" in card
    assert "in place of dccuchile/bert-base-spanish-wwm-cased" in card
    assert "- not run: BETO's weights: none could be downloaded" in card
    assert re.search(r"- text: .*max abs error \d", card)


def test_a_bundle_does_not_say_where_it_was_made(composed: Callable[[str], Bundle]) -> None:
    bundle = composed("english-superb-distilroberta-audeering")
    for path in bundle.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert all(sign not in content for sign in (b"/tmp", b"site-packages")), path.name
            assert str(Path(main.__code__.co_filename).parent).encode() not in content, path.name


def test_only_what_is_served_is_in_the_graphs(composed: Callable[[str], Bundle]) -> None:
    description = composed("spanish-unispeech-sat-distilbert").description
    for part in (*description.audio, *description.text):
        assert [(out.role, out.shape[1]) for out in part.outputs] == [
            (Role.LOGITS, 3),
            (Role.EMBEDDING, 3),
        ]
        logits = part.output(Role.LOGITS)
        assert logits is not None and logits.labels == description.labels


@pytest.mark.parametrize("family", AUDIO_FAMILIES)
def test_every_speech_family_goes_through_the_verbs(
    tmp_path: Path,
    random_folder: RandomFolder,
    encoders: Mapping[str, Path],
    capsys: pytest.CaptureFixture[str],
    family: str,
) -> None:
    """audio, parity, quantize, bundle, inspect, verify, file."""
    source, heard = str(random_folder(family)), str(tmp_path / "heard")
    assert main(["audio", source, "--out", heard]) == 0
    assert main(["parity", heard, "--source", source, "--fast"]) == 0
    half = str(tmp_path / "half")
    assert main(["quantize", heard, "--precision", "float16", "--out", half]) == 0
    small = str(tmp_path / "small")
    quantize_anyway = ["--tolerance", "5"]  # 32 wide and random, few of them bear 8 bits
    assert (
        main(["quantize", heard, "--precision", "int8-dynamic", "--out", small, *quantize_anyway])
        == 0
    )
    serve_and_file(half, str(encoders["text"]), tmp_path / "bundle", capsys, asr="off")


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_every_text_family_goes_through_the_verbs(
    tmp_path: Path,
    random_folder: RandomFolder,
    encoders: Mapping[str, Path],
    whisper_folder: Path,
    capsys: pytest.CaptureFixture[str],
    family: str,
) -> None:
    """text, parity, quantize, bundle, inspect, verify, file with a transcript."""
    source, read = str(random_folder(family)), str(tmp_path / "read")
    assert main(["text", source, "--out", read]) == 0
    assert main(["parity", read, "--source", source, "--fast"]) == 0
    small = str(tmp_path / "small")
    assert main(["quantize", read, "--precision", "int8-dynamic", "--out", small]) == 0
    said = serve_and_file(
        str(encoders["audio"]), small, tmp_path / "bundle", capsys, asr=str(whisper_folder)
    )
    assert '"modalities": ["audio", "text"]' in said


def serve_and_file(
    audio: str, text: str, out: Path, capsys: pytest.CaptureFixture[str], asr: str
) -> str:
    """Make a bundle of two encoders, look at it, verify it, and recognise a recording with it."""
    arguments = ["bundle", "english-hubert-bert", "--out", str(out), "--untrained-fusion"]
    assert main([*arguments, f"--encoder=audio={audio}", f"--encoder=text={text}"]) == 0
    assert main(["inspect", str(out)]) == 0
    assert "graph fusion" in capsys.readouterr().out
    assert realtime_ser(["models", "verify", str(out)]) == 0
    arguments = ["--bundle", str(out), "--asr", asr, "--json"]
    assert realtime_ser(["file", str(sample_path("short")), *arguments]) == 0
    said = capsys.readouterr().out
    assert '"emotion.final"' in said
    return said


def replace_part(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    def changed(parts: Any) -> Any:
        return tuple(
            dataclasses.replace(part, **changes) if part.name == name else part for part in parts
        )

    return dataclasses.replace(recipe, audio=changed(recipe.audio), text=changed(recipe.text))


CLASSES = {"neu": "calm", "hap": "happy", "ang": "angry", "sad": "sad"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"head": "classification", "labels": MappingProxyType(CLASSES)},
            r"none is mapped to disgust, fearful, surprised",
        ),
        (
            {"head": "classification", "labels": MappingProxyType({"neu": "calm"})},
            r"hubert\d* has the labels neu, hap, ang, sad; .*either map or drop hap, ang, sad",
        ),
        ({"head": "regression"}, "has no head for regression; give a model that has one"),
        ({"modality": "text"}, "is a model of audio, the part audio of text"),
    ],
)
def test_an_encoder_that_does_not_fit_the_recipe(
    tmp_path: Path, encoders: Mapping[str, Path], changes: dict[str, Any], message: str
) -> None:
    recipe = replace_part(read_recipe("english-hubert-bert"), "audio", **changes)
    with pytest.raises(ExportError, match=message):
        compose(recipe, tmp_path / "bundle", Ingredients(encoders=encoders, untrained_fusion=True))
    assert not (tmp_path / "bundle").exists()


def published(encoder: Path, to: Path, model: str, revision: str) -> Path:
    """A copy of an encoder folder that says it came from the hub."""
    shutil.copytree(encoder, to)
    record = read_record(to)
    source = dataclasses.replace(record.source, model=model, revision=revision)
    write_record(dataclasses.replace(record, source=source), to)
    return to


def test_another_published_model_is_a_mistake(tmp_path: Path, encoders: Mapping[str, Path]) -> None:
    other = published(encoders["audio"], tmp_path / "other", "facebook/other", "1" * 40)
    given = Ingredients(encoders={**encoders, "audio": other}, untrained_fusion=True)
    with pytest.raises(ExportError, match=r"is facebook/other, the recipe wants facebook/hubert"):
        compose(read_recipe("english-hubert-bert"), tmp_path / "bundle", given)


def test_another_revision_is_a_mistake(tmp_path: Path, encoders: Mapping[str, Path]) -> None:
    model = "facebook/hubert-base-ls960"
    other = published(encoders["audio"], tmp_path / "other", model, "1" * 40)
    recipe = replace_part(read_recipe("english-hubert-bert"), "audio", revision="2" * 40)
    given = Ingredients(encoders={**encoders, "audio": other}, untrained_fusion=True)
    with pytest.raises(ExportError, match=f"at revision {'1' * 40}, the recipe wants {'2' * 40}"):
        compose(recipe, tmp_path / "bundle", given)


def test_labels_that_a_published_model_no_longer_has(
    tmp_path: Path, encoders: Mapping[str, Path]
) -> None:
    recipe = read_recipe("english-superb-distilroberta-audeering")
    part = recipe.parts[0]
    other = published(encoders["audio"], tmp_path / "other", part.model, part.revision or "")
    changed = replace_part(recipe, "audio", model_labels=("ang", "hap", "neu", "sad"))
    with pytest.raises(ExportError, match=r"has the labels neu, .*the recipe says ang, .*changed"):
        compose(changed, tmp_path / "bundle", Ingredients(encoders={"audio": other}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["valence", "arousal", "dominance"]}, "the labels of .* exported as valence"),
        ({"range": [1, 7]}, r"the range of .* exported as 1, 7, the recipe says 0\.0, 1\.0"),
    ],
)
def test_affect_that_a_published_model_does_not_give(
    tmp_path: Path, random_folder: RandomFolder, change: dict[str, Any], message: str
) -> None:
    recipe = read_recipe("english-superb-distilroberta-audeering")
    part = recipe.parts[1]
    rated = random_folder("wav2vec2", head="regression")
    export_encoder(part, str(rated), tmp_path / "rated")
    other = published(tmp_path / "rated", tmp_path / "other", part.model, part.revision or "")
    record = read_record(other)
    outputs = [
        {**output, **change} if output["role"] == "affect" else output
        for output in record.part["outputs"]
    ]
    write_record(dataclasses.replace(record, part={**record.part, "outputs": outputs}), other)
    with pytest.raises(ExportError, match=message):
        place(part, other, tmp_path / "draft", recipe.labels)


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        ("english-hubert-bert", ["--encoder", "voice=x"], "has no part 'voice'; its parts are"),
        ("english-hubert-bert", ["--model", "audio=x", "--encoder", "audio=x"], "not both"),
        ("english-hubert-bert", ["--model", "audio=x", "--model", "audio=y"], "a part twice"),
        ("spanish-wav2vec2-beto", [], "is a pretrained encoder without a head"),
        ("english-hubert-bert", [], "has no weights yet; train it and give --fusion-weights"),
        ("english-hubert-bert", ["--fusion-weights", "none"], "there is no file none"),
        (
            "spanish-wav2vec2-beto",
            ["--model", "audio=x", "--model", "text=x", "--untrained-fusion"],
            "joins by mean, which has no weights",
        ),
        ("no-such-recipe", [], "there is no recipe 'no-such-recipe'"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_exported(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    arguments: list[str],
    message: str,
) -> None:
    assert main(["bundle", recipe, "--out", str(tmp_path / "bundle"), *arguments]) == 4
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [*tmp_path.iterdir()] == []


def test_an_untrained_head_prints_the_tensors_of_a_trained_one(
    tmp_path: Path,
    encoders: Mapping[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = Ingredients(encoders=encoders, untrained_fusion=True)
    compose(read_recipe("english-hubert-bert"), tmp_path / "bundle", given)
    needed = "RANDOM WEIGHTS for layers.1.bias [7], layers.1.weight [7, 65]"
    assert needed in capsys.readouterr().err


def test_a_failure_leaves_the_old_bundle(tmp_path: Path, encoders: Mapping[str, Path]) -> None:
    recipe = read_recipe("english-hubert-bert")
    given = Ingredients(encoders=encoders, untrained_fusion=True)
    before = compose(recipe, tmp_path / "bundle", given)
    with pytest.raises(ExportError):
        compose(recipe, tmp_path / "bundle", Ingredients(encoders=encoders))
    assert load_bundle(tmp_path / "bundle").hash == before.hash
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
