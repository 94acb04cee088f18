"""Training on made-up clips: it resumes where it stopped, as if it had not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

from realtime_ser_export.encoder_folder import read_record  # noqa: E402
from realtime_ser_export.speech.audio_cache import AudioCache  # noqa: E402
from realtime_ser_export.speech.batches import (  # noqa: E402
    BatchMaker,
    NoiseSpectra,
    sampling_weights,
    soft_target,
)
from realtime_ser_export.speech.onnx_audio import OnnxEncoder  # noqa: E402
from realtime_ser_export.speech.settings import AudioSettings, NetworkSettings  # noqa: E402
from realtime_ser_export.speech.spectra_cache import open_spectra  # noqa: E402
from realtime_ser_export.speech.stage import leave_encoder  # noqa: E402
from realtime_ser_export.speech.train_audio import fit, load_best  # noqa: E402
from realtime_ser_export.training.context import Progress  # noqa: E402
from realtime_ser_export.training.corpora import LABELS, Clip, label_masks  # noqa: E402
from realtime_ser_export.training.optimisation import learning_rate_at  # noqa: E402

TINY = NetworkSettings(stem_channels=4, width=16, blocks=1, heads=2, embedding=8, stacked=2)


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


def settings(steps: int) -> AudioSettings:
    """Without a decay, so that a run of 8 steps is the first half of one of 16."""
    return AudioSettings(
        steps=steps,
        batch_size=4,
        warmup_steps=2,
        decay_share=0.0,
        evaluate_every=8,
        computed_noises=2,
        silent_share=0.25,
        network=TINY,
    )


def maker(folder: Path) -> BatchMaker:
    clips, audio = made_up()
    return BatchMaker(
        clips,
        np.arange(24),
        open_spectra(folder, audio),
        NoiseSpectra([], 2, seed=5),
        label_masks(clips),
        settings(8),
        seed=5,
    )


def run(folder: Path, steps: int) -> None:
    fit(
        maker(folder.parent / "cache"),
        lambda model: (model.classify.weight.sum().item(), {"bias": 0.0}),
        settings(steps),
        folder,
        seed=1,
        threads=1,
        resume=True,
        progress=Progress("audio", folder),
    )


def test_a_resumed_run_continues(tmp_path: Path) -> None:
    run(tmp_path / "whole", 16)
    for steps in (8, 16):
        run(tmp_path / "parts", steps)
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


def test_it_stops_when_nothing_better_comes_and_does_not_go_on_when_resumed(tmp_path: Path) -> None:
    """The first evaluation is the best: after two more it ends, at step 24 of 80."""
    chosen = replace(settings(80), patience=2)
    for _ in range(2):
        fit(
            maker(tmp_path / "cache"),
            lambda _: (0.5, {}),
            chosen,
            tmp_path / "run",
            seed=1,
            threads=1,
            resume=True,
            progress=Progress("audio", tmp_path / "run"),
        )
        _, training = load_best(tmp_path / "run")
        assert (training["step"], training["total_steps"]) == (8, 24)


def test_what_is_left_is_half_as_large_and_answers_as_the_network(tmp_path: Path) -> None:
    run(tmp_path / "run", 8)
    record = leave_encoder(tmp_path / "run", tmp_path / "encoder")
    assert read_record(tmp_path / "encoder").part == record.part
    model, _ = load_best(tmp_path / "run")
    waveform = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 9_000)).astype(np.float32)
    lengths = np.array([9_000])
    logits, embedding = OnnxEncoder(tmp_path / "encoder" / "model.onnx").outputs(waveform, lengths)
    with torch.no_grad():
        expected = model(torch.from_numpy(waveform), torch.from_numpy(lengths))
    # Not equal: the graph has the weights rounded to half.
    assert np.allclose(logits, expected[0], atol=0.02)
    assert np.allclose(embedding, expected[1], atol=0.02)
    assert record.part["outputs"][0]["labels"] == list(LABELS)


def test_the_learning_rate_warms_up_stays_and_decays() -> None:
    chosen = AudioSettings(steps=100, warmup_steps=10, decay_share=0.3, learning_rate=1.0)
    rates = [learning_rate_at(step, chosen) for step in (0, 9, 10, 70, 85, 100)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_targets_stay_within_the_labels_of_the_corpus() -> None:
    clips, _ = made_up()
    allowed = label_masks(clips)["cremad"]
    voted = Clip("x", "cremad", "train", "s", 0, (0.5, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0))
    target = soft_target(voted, allowed, AudioSettings())
    assert target.sum() == pytest.approx(1.0)
    assert target[0] > target[3] > 0.1
    assert all(target[i] == 0 for i in range(len(LABELS)) if not allowed[i])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.75, 1.0])
def test_classes_are_drawn_evenly_and_corpora_by_a_power_of_their_size(exponent: float) -> None:
    def clip(corpus: str, label: int) -> Clip:
        return Clip("a.wav", corpus, "train", f"{corpus}_1", label, None)

    clips = [clip("many", 0)] * 24 + [clip("many", 1)] * 8 + [clip("few", 2)] * 2
    weights = sampling_weights(clips, exponent)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:24].sum() == pytest.approx(weights[24:32].sum())
    assert weights[:32].sum() / weights[32:].sum() == pytest.approx(16.0**exponent)


def test_a_pool_is_the_same_every_time_and_silent_past_each_end(tmp_path: Path) -> None:
    first, second = (maker(tmp_path).pool(3) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.power, other.power)
        assert torch.equal(one.targets, other.targets)
        for power, frames in zip(one.power, one.frames, strict=True):
            assert (power[:frames] > 0).all() and (power[frames:] == 0).all()
    assert not torch.equal(first[0].power[0, :5], maker(tmp_path).pool(4)[0].power[0, :5])
