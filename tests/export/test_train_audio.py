"""Training on made-up clips: it resumes where it stopped, as if it had not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

from realtime_ser_export.speech.audio_cache import AudioCache  # noqa: E402
from realtime_ser_export.speech.audio_encoder import EncoderConfig  # noqa: E402
from realtime_ser_export.speech.batches import BatchMaker, soft_target  # noqa: E402
from realtime_ser_export.speech.train_audio import (  # noqa: E402
    TrainConfig,
    learning_rate_at,
    load_best,
    train,
)
from realtime_ser_export.training.corpora import LABELS, Clip, label_masks  # noqa: E402

TINY = EncoderConfig(stem_channels=4, width=16, blocks=1, heads=2, embedding=8)


def made_up() -> tuple[list[Clip], AudioCache]:
    """24 clips of half a second by six speakers, two corpora, all of it speech."""
    clips = []
    for i in range(24):
        corpus, split = ("cremad", "nemo")[i % 2], ("train", "train", "dev")[i // 2 % 3]
        clips.append(Clip(f"{i}", corpus, split, f"{corpus}-{split}", (0, 3, 5)[i % 3], None))
    rng = np.random.default_rng(0)
    samples = rng.integers(-3000, 3000, 24 * 8_000).astype(np.int16)
    bounds = np.tile(np.array([0, 8_000]), (24, 1))
    return clips, AudioCache(samples, np.arange(25) * 8_000, bounds)


def settings(steps: int) -> TrainConfig:
    """Without a decay, so that a run of 8 steps is the first half of one of 16."""
    return TrainConfig(
        steps=steps,
        batch_size=4,
        warmup_steps=2,
        decay_share=0.0,
        evaluate_every=8,
        noise_sounds=2,
        threads=1,
    )


def test_a_resumed_run_continues(tmp_path: Path) -> None:
    clips, audio = made_up()
    train(clips, audio, tmp_path / "whole", TINY, settings(16))
    for steps in (8, 16):
        train(clips, audio, tmp_path / "parts", TINY, settings(steps))
        state = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
        assert state["step"] == steps
    whole = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)
    for name, value in whole["average"].items():
        assert torch.equal(value, state["average"][name]), name
    lines = (tmp_path / "parts" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [8, 16]
    model, training = load_best(tmp_path / "parts")
    assert not model.training
    assert training["total_steps"] == 16


def test_the_learning_rate_warms_up_stays_and_decays() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, decay_share=0.3, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in (0, 9, 10, 70, 85, 100)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_targets_stay_within_the_labels_of_the_corpus() -> None:
    clips, _ = made_up()
    allowed = label_masks(clips)["cremad"]
    voted = Clip("x", "cremad", "train", "s", 0, (0.5, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0))
    target = soft_target(voted, allowed)
    assert target.sum() == pytest.approx(1.0)
    assert target[0] > target[3] > 0.1
    assert all(target[i] == 0 for i in range(len(LABELS)) if not allowed[i])


def test_a_pool_is_the_same_every_time() -> None:
    clips, audio = made_up()
    masks = label_masks(clips)
    makers = [
        BatchMaker(clips, np.arange(24), audio, masks, 4, seed=5, noise_sounds=2) for _ in range(2)
    ]
    first, second = (maker.pool(3) for maker in makers)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.waveform, other.waveform)
        assert torch.equal(one.targets, other.targets)
    assert not torch.equal(first[0].waveform[0, :100], makers[0].pool(4)[0].waveform[0, :100])
