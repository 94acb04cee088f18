"""Published transformers trained with a layer on top, with tiny ones of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("librosa")

from realtime_ser_export.errors import ExportError
from realtime_ser_export.papers import finetune
from realtime_ser_export.papers.finetune import Given, fine_tune
from realtime_ser_export.papers.fit import FitSettings

RNG = np.random.default_rng(2)
LABELS = np.arange(8) % 2
EVERY = np.arange(8)
WAVES = [RNG.standard_normal(4000 + 500 * n).astype(np.float32) * 0.1 for n in range(8)]
TEXTS = ["no" if label else "yes of course" for label in LABELS]


def test_text_alone_is_learnt(random_folder: Callable[..., Path], tmp_path: Path) -> None:
    models = {"text": str(random_folder("bert"))}
    settings = FitSettings(8, 4, 5e-3, "adamw")
    scores = fine_tune(
        models, Given(texts=TEXTS), LABELS, 2, EVERY, EVERY, EVERY, settings, tmp_path
    )
    assert np.array_equal(scores.argmax(1), LABELS)


def test_both_together_go_on_where_they_stopped(
    random_folder: Callable[..., Path], tmp_path: Path
) -> None:
    models = {"audio": str(random_folder("hubert")), "text": str(random_folder("bert"))}
    settings = FitSettings(1, 4, 1e-3, "adamw", accumulate=2, warmup_steps=2)
    given = (models, Given(WAVES, TEXTS), LABELS, 2, EVERY, EVERY, EVERY, settings, tmp_path)
    first, again = fine_tune(*given), fine_tune(*given)
    assert first.shape == (8, 2)
    assert np.array_equal(first, again)


def test_an_embedding_that_stays_counts_however_small_it_is(
    random_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts do not tell the labels, and what does is a five-hundredth of its own mean."""
    told = (5 + 1e-2 * np.where(LABELS, 1.0, -1.0).astype(np.float32))[:, None]
    given = Given(texts=["well", "well", "no", "no"] * 2, embeddings=[told])
    models = {"text": str(random_folder("bert"))}
    monkeypatch.setattr(finetune, "TOP_RATE", 0.1)  # for a few steps, not for thousands
    settings = FitSettings(12, 4, 1e-6, "adamw")
    scores = fine_tune(models, given, LABELS, 2, EVERY, EVERY, EVERY[::3], settings, tmp_path)
    assert np.array_equal(scores.argmax(1), LABELS[::3])


def test_what_the_layer_had_learnt_is_not_lost(
    random_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rate that ruins the encoder, what was best is the layer on top of it as it was."""
    monkeypatch.setattr(finetune, "TOP_RATE", 0.1)
    given = Given(texts=TEXTS, embeddings=[LABELS[:, None].astype(np.float32)])
    models = {"text": str(random_folder("bert"))}
    settings = FitSettings(12, 4, 3.0, "adamw")
    scores = fine_tune(models, given, LABELS, 2, EVERY, EVERY, EVERY, settings, tmp_path)
    assert np.array_equal(scores.argmax(1), LABELS)


def test_nothing_to_train(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--fine-tune audio=MODEL or text=MODEL"):
        fine_tune(
            {}, Given(WAVES), LABELS, 2, EVERY, EVERY, EVERY, FitSettings(1, 4, 1.0), tmp_path
        )
