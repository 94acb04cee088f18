"""PATHOSnet: its acoustic frames, and networks that answer in `realtime-ser` as in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("librosa")
pytest.importorskip("transformers")

import librosa
import torch
from onnx import TensorProto, helper
from served_file import serve_sample

from realtime_ser_export.graphs.served import serve
from realtime_ser_export.papers.fit import FitSettings, fit
from realtime_ser_export.papers.frames import (
    FRAME_SAMPLES,
    LOG_MEL,
    FrameEncoder,
    LogMelFrames,
    Pieces,
    frames_of,
    open_frames,
)
from realtime_ser_export.papers.pathosnet import Ensemble, PathosNetwork, Sequences
from realtime_ser_export.papers.pathosnet_bundle import Trained, write_pathosnet
from realtime_ser_export.papers.word_vectors import WIDTH, lexicon_of
from realtime_ser_export.training.corpora import LABELS as EVERY_LABEL
from realtime_ser_export.training.subjects import BundleSubject

RNG = np.random.default_rng(0)
LABELS = ("happy", "angry", "sad", "neutral")
SPOKEN = {"en": ["Hello there", "the kitchen light", "no"], "es": ["¿Qué? No, gracias"]}


def wave(samples: int) -> np.ndarray:
    """Whole numbers of 16 bits, as a bundle is asked."""
    return RNG.integers(-3000, 3000, samples).astype(np.float32) / 32768


def test_log_mel_frames_are_those_of_librosa() -> None:
    sound = wave(20_123) * np.linspace(0, 1, 20_123, dtype=np.float32) ** 3
    power = librosa.feature.melspectrogram(
        y=sound, sr=16_000, n_fft=512, win_length=400, hop_length=160, n_mels=64
    )
    level = librosa.power_to_db(power, ref=np.max).T / 40 + 1
    expected = level[: len(level) // 16 * 16].reshape(-1, 4, 4, 64).mean(2).reshape(-1, 256)
    padded = np.pad(sound, (0, 7_000), constant_values=np.nan)
    frames, counts = LogMelFrames()(torch.from_numpy(padded)[None], torch.tensor([len(sound)]))
    assert counts.tolist() == [len(expected)]
    np.testing.assert_allclose(frames[0, : len(expected)].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "lengths"),
    [
        (2 * FRAME_SAMPLES + 3_839, [FRAME_SAMPLES] * 2),
        (2 * FRAME_SAMPLES + 3_840, [FRAME_SAMPLES] * 2 + [4_000]),
        (2 * FRAME_SAMPLES + 9_000, [FRAME_SAMPLES] * 2 + [9_000]),
        (3_000, [4_000]),
    ],
)
def test_pieces_lose_only_a_short_rest(samples: int, lengths: list[int]) -> None:
    sound = wave(samples)
    for whole in (False, True):
        padded = torch.from_numpy(np.pad(sound, (0, 50_000)))[None]
        pieces, told, count = Pieces(4_000, whole=whole)(padded, torch.tensor([samples]))
        assert int(count[0]) == len(lengths)
        expected = [FRAME_SAMPLES] * len(lengths) if whole else lengths
        assert told[: len(lengths)].tolist() == expected
        joined = pieces[: len(lengths)].reshape(-1).numpy()[:samples]
        np.testing.assert_array_equal(joined, sound[: len(joined)])


def unmasked_encoder(folder: Path) -> FrameEncoder:
    """An encoder that hears its padding: mean and largest sample of all that it is given."""
    inside = helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])
    outside = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 2])
    nodes = [
        helper.make_node("ReduceMean", ["waveform"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("ReduceMax", ["waveform"], ["largest"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "largest"], ["embedding"], axis=1),
    ]
    graph = helper.make_graph(nodes, "unmasked", [inside], [outside])
    opsets = [helper.make_opsetid("", 17)]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    tensor = {"dtype": "float32", "unit": "none"}
    part = {
        "file": "model.onnx",
        "inputs": [{"name": "waveform", "shape": ["batch", "samples"], **tensor}],
        "outputs": [{"name": "embedding", "role": "embedding", "shape": ["batch", 2], **tensor}],
        "batching": "exact_length",
        "minimum_samples": 1,
        "maximum_samples": 480_000,
    }
    served = serve(path, part)
    return FrameEncoder("unmasked", served.expert, path, "CC0-1.0")  # type: ignore[arg-type]


def trained_on(encoders: list[FrameEncoder], folder: Path) -> Trained:
    """Networks that went over twelve noises, and the linear layer on them."""
    lexicon = lexicon_of(SPOKEN)
    every = np.arange(12)
    sounds = [wave(6_000 + 5_000 * n) for n in range(12)]
    texts = [[*SPOKEN["en"], *SPOKEN["es"]][n % 4] for n in range(12)]
    words = Sequences.of(lexicon.sequences(texts), WIDTH)
    networks, features = [], []
    for place, encoder in enumerate(encoders):
        frames = frames_of(encoder, sounds, None)
        torch.manual_seed(place)
        network = PathosNetwork(frames.vectors.shape[1], WIDTH, len(LABELS))
        network.unlock()

        def inputs(clips: np.ndarray, frames: Sequences = frames) -> tuple[torch.Tensor, ...]:
            return (*frames.batch(clips), *words.batch(clips))

        fit(network, inputs, every % 4, every, every, FitSettings(2, 4, 1e-3, "rmsprop"),
            folder / str(place), "test")  # fmt: skip
        networks.append(network)
        with torch.no_grad():
            features.append(network.features(*inputs(every)))
    linear = networks[0].linear
    if len(networks) > 1:
        joined = torch.cat(features, dim=1)
        linear = Ensemble(joined.shape[1], len(LABELS)).linear
        with torch.no_grad():
            # As a trained one would: no answer is certain.
            linear.weight /= joined.std(0) + 1
    return Trained(encoders, networks, linear, lexicon)


def in_torch(trained: Trained, sounds: list[np.ndarray], texts: list[str]) -> np.ndarray:
    """Probabilities of the networks as they were trained, float32 [n, 4]."""
    words = Sequences.of(trained.lexicon.sequences(texts), WIDTH)
    every = np.arange(len(sounds))
    with torch.no_grad():
        features = [
            network.eval().features(
                *frames_of(encoder, sounds, None).batch(every), *words.batch(every)
            )
            for encoder, network in zip(trained.encoders, trained.networks, strict=True)
        ]
        return trained.linear(torch.cat(features, dim=1)).softmax(1).numpy()


Opened = Callable[[Path], list[FrameEncoder]]


@pytest.mark.parametrize(
    "opened",
    [
        lambda _: [open_frames("default")],
        lambda folder: [open_frames(LOG_MEL), unmasked_encoder(folder)],
    ],
    ids=["default bundle", "ensemble of bands and an encoder that hears padding"],
)
def test_served_as_trained(
    opened: Opened, whisper_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = trained_on(opened(tmp_path), tmp_path / "fit")
    folder = tmp_path / "bundle"
    bundle = write_pathosnet(folder, trained, LABELS, "PATHOSnet", ["en", "es"])
    assert len(bundle.description.audio) == len(trained.encoders)

    # Together they are padded to the longest; unknown words, and no word at all.
    sounds = [wave(samples) for samples in (5_000, 16_000, 34_567, 50_001)]
    texts = ["No thanks, the KITCHEN", "¡gracias!", "unheard of", ""]
    subject = BundleSubject(folder)
    scores = subject.answer(sounds, texts).scores
    columns = [EVERY_LABEL.index(label) for label in LABELS]
    expected = in_torch(trained, sounds, texts)
    np.testing.assert_allclose(np.exp(scores)[:, columns], expected, atol=1e-4)
    # They differ by the words and by the voice, or nothing would be shown.
    assert np.ptp(expected, axis=0).max() > 0.01, expected
    silent = in_torch(trained, sounds, [""] * 4)
    assert np.abs(silent - expected)[:2].max() > 1e-3

    for asr in (str(whisper_folder), "off"):
        file = serve_sample(folder, asr, capsys)
        assert file.modalities == (["audio"] if asr == "off" else ["audio", "text"])
        (of_file,) = in_torch(trained, [file.wave], [file.text])
        answered = [file.probabilities[label] for label in LABELS]
        np.testing.assert_allclose(answered, of_file, atol=1e-4)
