"""What a published encoder gives the miniature transcriber to foretell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from realtime_ser_export.errors import ExportError
from realtime_ser_export.huggingface.random_models import random_model
from realtime_ser_export.transcriber.log_mel import feature_extractor, log_mel
from realtime_ser_export.transcriber.teacher import TARGETS, Hints
from realtime_ser_export.transcriber.text_batches import TextBatch


@pytest.fixture(scope="module")
def hints(tmp_path_factory: pytest.TempPathFactory) -> Hints:
    """Of a random Whisper encoder of three layers, made ready by a batch."""
    folder = random_model(
        "whisper", tmp_path_factory.mktemp("teacher"), utterance_only=True, encoder_layers=3,
        d_model=64, max_source_positions=100,
    )  # fmt: skip
    torch.manual_seed(0)
    made = Hints(str(folder), 16)
    made.prepare([batch_of([sound(30_000, seed) for seed in range(8)])])
    return made


def sound(samples: int, seed: int) -> np.ndarray:
    """Noise that swells and falls, so that its frames differ."""
    rng = np.random.default_rng(seed)
    swell = np.interp(np.arange(samples), np.linspace(0, samples, 12), rng.uniform(0, 1, 12))
    return (0.1 * swell * rng.normal(size=samples)).astype(np.float32)


def batch_of(sounds: list[np.ndarray], voiced: float = 1.0) -> TextBatch:
    frames = [log_mel(feature_extractor(), each) for each in sounds]
    lengths = torch.tensor([len(each) for each in frames])
    clean = torch.full((len(frames), int(lengths.max()) // 2 * 2 + 2, 80), -1.5)
    for row, each in zip(clean, frames, strict=True):
        row[: len(each)] = torch.from_numpy(each)
    nothing = torch.zeros((len(frames), 1), dtype=torch.int64)
    return TextBatch(
        clean, lengths, nothing, nothing, [None] * len(frames), [[]] * len(frames), clean,
        torch.full((len(frames),), voiced),
    )  # fmt: skip


def test_targets_are_of_one_size_and_tell_frames_apart(hints: Hints) -> None:
    batch = batch_of([sound(30_000, seed) for seed in range(8)])
    targets, mask = hints.teacher(batch.clean, batch.lengths)
    assert targets.shape == (8, batch.clean.shape[1] // 2, TARGETS)
    assert mask.sum(1).tolist() == (batch.lengths // 2).tolist()
    spread = targets[mask > 0].std(0)
    assert ((spread > 0.6) & (spread < 1.1)).all()


def test_loudness_and_company_change_nothing(hints: Hints) -> None:
    """A quieter copy, and the same beside a longer sound, have the same targets."""
    alone, louder = sound(20_000, 1), sound(32_000, 2)
    truth, mask = hints.teacher(*inputs(batch_of([alone])))
    known = truth[0][mask[0] > 0]
    for batch in (batch_of([0.3 * alone]), batch_of([alone, louder])):
        found, _ = hints.teacher(*inputs(batch))
        assert (found[0, : len(known)] - known).abs().mean() < 0.02


def inputs(batch: TextBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return batch.clean, batch.lengths


def test_only_the_pupil_learns_and_only_from_voices(hints: Hints) -> None:
    encoded = torch.randn((2, 60, 16), requires_grad=True)
    assert [name for name, each in hints.named_parameters() if each.requires_grad] == [
        "pupil.weight",
        "pupil.bias",
    ]
    sounds = [sound(20_000, seed) for seed in (3, 4)]
    assert hints(encoded, batch_of(sounds, voiced=0.0)).item() == 0
    loss = hints(encoded, batch_of(sounds))
    loss.backward()
    assert loss.item() > 0.5
    assert encoded.grad is not None and encoded.grad.abs().max() > 0


def test_a_state_comes_back_with_its_components(hints: Hints, tmp_path: Path) -> None:
    """They are chosen once: a run that goes on foretells what it has foretold."""
    torch.save(hints.state_dict(), tmp_path / "hints.pt")
    before = hints.teacher.basis.clone()
    hints.load_state_dict(torch.load(tmp_path / "hints.pt", weights_only=True))
    hints.prepare([batch_of([sound(20_000, 9)])])
    assert torch.equal(hints.teacher.basis, before)


def test_who_cannot_teach_is_told(tmp_path: Path) -> None:
    short = {"max_source_positions": 100}
    others = (
        ("hubert", {}),
        ("whisper", {"encoder_layers": 2, **short}),
        ("whisper", {"encoder_layers": 3, "num_mel_bins": 128, **short}),
    )
    for number, (family, options) in enumerate(others):
        folder = random_model(family, tmp_path / str(number), **options)
        with pytest.raises(ExportError, match="cannot teach: it is no Whisper encoder with 3"):
            Hints(str(folder), 16)
