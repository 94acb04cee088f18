"""Shapes and promises of the papers' networks, and the loop that trains them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("librosa")
pytest.importorskip("sklearn")

import torch
from torch import nn

from realtime_ser_export.errors import ExportError
from realtime_ser_export.papers.fit import FitSettings, fit, predict, rows_of
from realtime_ser_export.papers.images import (
    MEL_COLUMNS,
    MEL_ROWS,
    blocks,
    mel_picture,
    mel_pictures,
    spectrogram_images,
)
from realtime_ser_export.papers.networks import (
    Convolutions1d,
    FrozenHead,
    ImageNetwork,
    SpectrogramNetwork,
    mean_of_blocks,
)
from realtime_ser_export.papers.pathosnet import PathosNetwork, Sequences

RNG = np.random.default_rng(0)


def test_a_block_of_a_second_is_an_image_of_257_by_251() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    images = spectrogram_images(blocks(tone * 0.1))
    assert images.shape == (1, 3, 257, 251)
    assert images.abs().max() <= 1
    # 1 kHz is row 32 of 257 up to 8 kHz: the end of jet, dark red, against dark blue.
    red, blue = images[0, 0], images[0, 2]
    assert (red[32, 100], blue[32, 100]) > (red[200, 100], blue[32, 100] - 1)
    assert blue[200, 100] > blue[32, 100]


@pytest.mark.parametrize(
    ("samples", "count"), [(1, 1), (7_000, 1), (16_000, 1), (23_000, 1), (24_001, 2), (40_001, 3)]
)
def test_blocks_leave_out_a_short_rest(samples: int, count: int) -> None:
    cut = blocks(np.full(samples, 0.25, np.float32))
    assert cut.shape == (count, 16_000)
    assert cut[0, 0] == 1  # the amplitude is normalised


def test_mel_pictures_are_cut_and_computed_once(tmp_path: Path) -> None:
    waves = [RNG.standard_normal(n * 16_000).astype(np.float32) * 0.1 for n in (1, 21)]
    assert mel_picture(waves[0]).shape == (MEL_ROWS, 32)
    assert mel_picture(waves[1]).shape == (MEL_ROWS, MEL_COLUMNS) == (128, 625)
    made = mel_pictures(waves, tmp_path)
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    again = mel_pictures(waves, tmp_path)
    assert path.stat().st_mtime_ns == written
    assert again.lengths.tolist() == [32, 625]
    np.testing.assert_array_equal(again.vectors, made.vectors)
    np.testing.assert_array_equal(again.batch(np.array([0]))[0][0].T, mel_picture(waves[0]))


def test_the_networks_of_the_tables() -> None:
    batch = torch.randn(2, 128, 625)
    assert SpectrogramNetwork(3)(batch).shape == (2, 3)
    counts = [p.shape[0] for p in SpectrogramNetwork(3).parameters() if p.dim() > 1]
    assert counts == [3, 5, 10, 70, 40, 3]  # section 3.1.1 of paper 1
    network = Convolutions1d(94, 7)
    assert network(torch.randn(2, 94)).shape == (2, 7)
    kernels = [tuple(p.shape[::2]) for p in network.parameters() if p.dim() == 3]
    assert kernels == [(256, 8)] * 2 + [(128, 8)] * 4 + [(64, 8)] * 2  # table 5 of paper 2
    assert FrozenHead(16, 4, hidden=1024)(torch.randn(2, 16)).shape == (2, 4)


@pytest.mark.parametrize("used", [1, 95, 331, 487, 488, 600, 625])
def test_padding_is_convolved_once(used: int) -> None:
    torch.manual_seed(used)
    network = SpectrogramNetwork(3)
    pictures = torch.zeros(2, 128, 625)
    pictures[0, :, :used] = torch.randn(128, used)
    pictures[1, :, : used // 2] = torch.randn(128, used // 2)
    gradients = []
    whole_answer = nn.Sequential(nn.Unflatten(1, (1, 128)), network.convolutions, network.linear)
    for answer, seen in ((network, pictures[..., :used]), (whole_answer, pictures)):
        network.zero_grad()
        out = answer(seen)
        out.square().sum().backward()
        gradients.append([out.detach(), *(weight.grad for weight in network.parameters())])
    for cut, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)


def test_the_image_network_takes_the_images() -> None:
    pytest.importorskip("transformers")
    network = ImageNetwork(7, width=0.1).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 257, 251)).shape == (1, 7)


def test_a_clip_is_the_mean_of_its_blocks() -> None:
    scores = torch.log(torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]))
    means = mean_of_blocks(scores, torch.tensor([0, 0, 1]), 2)
    assert torch.allclose(means, torch.tensor([[0.7, 0.3], [0.2, 0.8]]))


def pathos_inputs(lengths: list[tuple[int, int]]) -> tuple[Sequences, Sequences]:
    frames = [RNG.standard_normal((a, 6)).astype(np.float32) for a, _ in lengths]
    words = [RNG.standard_normal((b, 5)).astype(np.float32) for _, b in lengths]
    return Sequences.of(frames, 6), Sequences.of(words, 5)


def test_padding_does_not_change_pathosnet() -> None:
    frames, words = pathos_inputs([(9, 4), (2, 1), (5, 0)])
    network = PathosNetwork(6, 5, 4).eval()
    every = np.arange(3)
    with torch.no_grad():
        together = network(*frames.batch(every), *words.batch(every))
        alone = [network(*frames.batch(every[i : i + 1]), *words.batch(every[i : i + 1]))
                 for i in range(3)]  # fmt: skip
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_the_second_step_unlocks_one_layer() -> None:
    network = PathosNetwork(6, 5, 4)
    before = sum(p.numel() for p in network.parameters() if p.requires_grad)
    network.unlock()
    after = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert after - before == 6 * 6 + 6
    frames, words = torch.zeros(2, 3, 6), torch.zeros(2, 1, 5)
    features = network.features(frames, torch.tensor([3, 1]), words, torch.tensor([0, 1]))
    assert features.shape == (2, 384)


def separable(count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % 3
    points = np.eye(3, dtype=np.float32)[labels] * 3
    return points + 0.1 * RNG.standard_normal((count, 3)).astype(np.float32), labels


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "rmsprop"])
def test_the_loop_learns(tmp_path: Path, optimiser: str) -> None:
    torch.manual_seed(0)
    points, labels = separable(60)
    network = FrozenHead(3, 3)
    train, dev = np.arange(40), np.arange(40, 60)
    settings = FitSettings(24, 8, 0.02, optimiser, accumulate=2, warmup_steps=3)
    fit(network, rows_of(points), labels, train, dev, settings, tmp_path, "test")
    answers = predict(network, rows_of(points), dev, 7).argmax(1)
    assert np.mean(answers == labels[dev]) > 0.9


def test_a_stopped_training_ends_as_an_unstopped_one(tmp_path: Path) -> None:
    points, labels = separable(30)
    train, dev = np.arange(20), np.arange(20, 30)

    def trained(folder: Path, *epochs: int) -> np.ndarray:
        for most in epochs:
            torch.manual_seed(5)
            network = torch.nn.Sequential(torch.nn.Dropout(0.3), FrozenHead(3, 3))
            settings = FitSettings(most, 4, 0.01, seed=1, decay=0.1)
            fit(network, rows_of(points), labels, train, dev, settings, folder, "test")
        return np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])

    whole, stopped = trained(tmp_path / "a", 4), trained(tmp_path / "b", 2, 4)
    assert np.array_equal(whole, stopped)


def test_what_was_trained_otherwise_is_not_gone_on_with(tmp_path: Path) -> None:
    points, labels = separable(30)
    every = np.arange(30)

    def trained(folder: Path, *rates: float) -> np.ndarray:
        for rate in rates:
            torch.manual_seed(5)
            network = FrozenHead(3, 3)
            settings = FitSettings(3, 8, rate)
            fit(network, rows_of(points), labels, every, every, settings, folder, "test")
        return np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])

    assert np.array_equal(trained(tmp_path / "a", 0.02), trained(tmp_path / "b", 1e-4, 0.02))


def test_patience_ends_it(tmp_path: Path) -> None:
    points, labels = separable(30)
    every = np.arange(30)
    settings = FitSettings(50, 8, 1e-9, patience=2)
    fit(FrozenHead(3, 3), rows_of(points), labels, every, every, settings, tmp_path, "test")
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 3


def test_an_unknown_optimiser() -> None:
    with pytest.raises(ExportError, match="adam, adamw, rmsprop"):
        FitSettings(1, 1, 1.0, "sgd")


def test_batches_of_about_the_same_length(tmp_path: Path) -> None:
    lengths = RNG.integers(1, 100, 200)
    seen: list[np.ndarray] = []
    points, labels = separable(200)

    def inputs(clips: np.ndarray) -> tuple[torch.Tensor, ...]:
        seen.append(clips)
        return (torch.from_numpy(points[clips]),)

    network = FrozenHead(3, 3)
    train, dev = np.arange(161), np.arange(161, 200)
    settings = FitSettings(2, 16, 0.01)
    fit(network, inputs, labels, train, dev, settings, tmp_path, "test", lengths)
    spread = np.mean([np.ptp(lengths[clips]) for clips in seen])
    assert spread < 50  # At random it is near 90.
    # Everybody is seen once an epoch, but for the one that was left alone in its batch.
    steps = [clips for clips in seen if clips.max() < 161]
    counts = np.bincount(np.concatenate(steps), minlength=161)
    assert counts.max() == 2 and counts.sum() == 2 * 160
    # Other batches in the second epoch, and answers in the order of the question.
    assert not np.array_equal(steps[0], steps[10])
    shuffled = RNG.permutation(dev)
    ordered = predict(network, inputs, shuffled, 8, lengths)
    assert np.allclose(ordered, predict(network, inputs, shuffled, 8), atol=1e-6)
