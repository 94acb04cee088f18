"""Speech models of every family: the module against the original, alone and among others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("transformers", reason="transformers is not installed")

from realtime_ser_export.errors import ExportError  # noqa: E402
from realtime_ser_export.huggingface.audio import load_audio  # noqa: E402

RandomFolder = Callable[..., Path]

STABLE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
HEAD = {"head": "classification"}
SUM = {"head": "classification", "use_weighted_layer_sum": True}
# 2 s and 3 s instead of 30 s and 10 s: what is tested does not depend on it.
WHISPER = {"max_source_positions": 100}
AST = {"max_length": 300}

MODELS = {
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2, layer norm": ("wav2vec2", STABLE),
    "wav2vec2, head": ("wav2vec2", HEAD),
    "wav2vec2, head on all layers": ("wav2vec2", SUM),
    "wav2vec2, not normalised": ("wav2vec2", {"extractor": {"do_normalize": False}}),
    "hubert": ("hubert", {}),
    "hubert, layer norm, head on all layers": ("hubert", {**STABLE, **SUM}),
    "hubert, batch norm before positions": ("hubert", {"conv_pos_batch_norm": True}),
    "hubert, no norm before projection": ("hubert", {"feat_proj_layer_norm": False}),
    "wavlm": ("wavlm", {}),
    "wavlm, layer norm": ("wavlm", STABLE),
    "wavlm, far apart": ("wavlm", {"max_bucket_distance": 40, "num_buckets": 16}),
    "wavlm, head on all layers": ("wavlm", SUM),
    "unispeech-sat": ("unispeech-sat", {}),
    "unispeech-sat, layer norm, head": ("unispeech-sat", {**STABLE, **HEAD}),
    "data2vec-audio": ("data2vec-audio", {}),
    "data2vec-audio, head on all layers": ("data2vec-audio", SUM),
    "conformer": ("wav2vec2-conformer", {}),
    "conformer, rotary": ("wav2vec2-conformer", {"position_embeddings_type": "rotary"}),
    "conformer, no positions": ("wav2vec2-conformer", {"position_embeddings_type": None}),
    "conformer, head on all layers": ("wav2vec2-conformer", SUM),
    "whisper": ("whisper", WHISPER),
    "whisper, head": ("whisper", {**WHISPER, **HEAD}),
    "whisper, head on all layers": ("whisper", {**WHISPER, **SUM}),
    "whisper, 128 bands": ("whisper", {**WHISPER, "num_mel_bins": 128}),
    "whisper, utterance only": ("whisper", {**WHISPER, "utterance_only": True}),
    "moonshine": ("moonshine", {}),
    "ast": ("audio-spectrogram-transformer", AST),
    "ast, head": ("audio-spectrogram-transformer", {**AST, **HEAD}),
    "ast, not normalised": (
        "audio-spectrogram-transformer",
        {**AST, "extractor": {"do_normalize": False}},
    ),
}


def utterances(part: Any, seed: int = 0) -> list[Any]:
    """Noises with an offset, from the shortest to the longest that a part takes, or 2 s."""
    rng = np.random.default_rng(seed)
    longest = min(part["maximum_samples"], 32_017)
    lengths = (part["minimum_samples"], 5_003, 20_011, longest)
    return [rng.normal(0.03, 0.1, length).astype(np.float32) for length in lengths]


def answers(model: Any, waveforms: list[Any], width: int, padding: float) -> list[Any]:
    """Outputs of the module for a batch padded to `width`: one array [batch, ...] each."""
    batch = np.full((len(waveforms), width), padding, np.float32)
    for row, waveform in enumerate(waveforms):
        batch[row, : len(waveform)] = waveform
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    with torch.no_grad():
        return [output.numpy() for output in model.module(torch.from_numpy(batch), lengths)]


@pytest.mark.parametrize("name", MODELS)
def test_alone_or_padded_the_module_says_what_the_original_says(
    name: str, random_folder: RandomFolder
) -> None:
    family, options = MODELS[name]
    model = load_audio(random_folder(family, **options))
    waveforms = utterances(model.part)
    # What fixed windows are given beyond them is padding too; a NaN shows wherever it gets to.
    padded = answers(model, waveforms, 50_000, padding=np.nan)
    for row, waveform in enumerate(waveforms):
        truth = model.reference(waveform)
        alone = answers(model, [waveform], len(waveform), padding=0)
        for output, lone, batch in zip(model.part["outputs"], alone, padded, strict=True):
            expected = truth[output["name"]]
            assert expected.shape == tuple(output["shape"][1:])
            np.testing.assert_allclose(lone[0], expected, atol=2e-5)
            np.testing.assert_allclose(batch[row], expected, atol=2e-5)


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm", "whisper", "moonshine", "ast"])
def test_the_answer_depends_on_what_is_heard(name: str, random_folder: RandomFolder) -> None:
    """Random weights of the usual initialisation would pass every comparison with a constant."""
    family, options = MODELS[name]
    model = load_audio(random_folder(family, **options))
    level = np.linspace(0, 1, 20_011, dtype=np.float32)
    even, rising = (utterances(model.part)[2], utterances(model.part, seed=1)[2] * level)
    a, b = (answers(model, [each], len(each), 0)[-1] for each in (even, rising))
    assert np.abs(a - b).max() > 0.05


def test_silence_is_heard_as_the_original_hears_it(random_folder: RandomFolder) -> None:
    for name in ("wav2vec2", "wavlm", "whisper", "moonshine", "ast"):
        family, options = MODELS[name]
        model = load_audio(random_folder(family, **options))
        silence = np.zeros(9_000, np.float32)
        expected = model.reference(silence)["embedding"]
        heard = answers(model, [silence], 12_000, padding=1.0)[-1][0]
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(heard, expected, atol=1e-4)


def test_the_original_is_left_as_it_was(random_folder: RandomFolder) -> None:
    """The module shares its weights, so a fold or a replaced layer must not reach it."""
    from transformers import WavLMModel

    folder = random_folder("wavlm")
    model = load_audio(folder)
    waveform = utterances(model.part)[1]
    untouched = WavLMModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = untouched(torch.from_numpy(waveform[None])).last_hidden_state.mean(1)[0]
    np.testing.assert_allclose(model.reference(waveform)["embedding"], expected, atol=1e-5)
    assert not any("parametrizations" in key for key in model.module.state_dict())


def test_a_head_can_be_left_out(random_folder: RandomFolder) -> None:
    for name in ("hubert, layer norm, head on all layers", "whisper, head", "ast, head"):
        family, options = MODELS[name]
        folder = random_folder(family, **options)
        whole, bare = load_audio(folder), load_audio(folder, "none")
        assert [output["name"] for output in bare.part["outputs"]] == ["embedding"]
        waveform = utterances(bare.part)[1]
        expected = whole.reference(waveform)["embedding"]
        np.testing.assert_allclose(bare.reference(waveform)["embedding"], expected, atol=1e-6)
        assert bare.part["parameters"] < whole.part["parameters"]


def test_labels_come_in_the_order_of_the_config(random_folder: RandomFolder) -> None:
    labels = ("sad", "angry", "calm")
    model = load_audio(random_folder("hubert", head="classification", labels=labels))
    logits, embedding = model.part["outputs"]
    assert logits["role"] == "logits" and logits["labels"] == list(labels)
    assert logits["shape"] == ["batch", 3] and embedding["shape"] == ["batch", 32]
    renamed = load_audio(
        random_folder("hubert", head="classification", labels=labels), labels=("a", "b", "c")
    )
    assert renamed.part["outputs"][0]["labels"] == ["a", "b", "c"]


def test_labels_answered_each_on_their_own_become_shares(random_folder: RandomFolder) -> None:
    folder = random_folder(
        "wav2vec2", head="classification", problem_type="multi_label_classification"
    )
    with pytest.raises(ExportError, match="--multi-label-shares"):
        load_audio(folder)
    model = load_audio(folder, multi_label_shares=True)
    plain = load_audio(random_folder("wav2vec2", head="classification"))
    waveform = utterances(model.part)[2]
    logits = answers(model, [waveform], len(waveform), 0)[0][0]
    expected = np.log(1 / (1 + np.exp(-plain.reference(waveform)["logits"])))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(model.reference(waveform)["logits"], expected, atol=1e-5)


def test_time_is_described_as_it_is(random_folder: RandomFolder) -> None:
    """25 ms of sound make one frame of wav2vec2; fixed windows end where they end."""
    wav2vec2 = load_audio(random_folder("wav2vec2")).part
    assert (wav2vec2["minimum_samples"], wav2vec2["maximum_samples"]) == (400, 480_000)
    assert load_audio(random_folder("whisper", **WHISPER)).part["maximum_samples"] == 32_000
    ast = load_audio(random_folder("audio-spectrogram-transformer", **AST)).part
    assert ast["maximum_samples"] == 400 + 299 * 160
    assert ast["batching"] == "masked"
