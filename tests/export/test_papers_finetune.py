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
from realtime_ser_export.papers.finetune import fine_tune
from realtime_ser_export.papers.fit import FitSettings

RNG = np.random.default_rng(2)
LABELS = np.arange(8) % 2
EVERY = np.arange(8)
WAVES = [RNG.standard_normal(4000 + 500 * n).astype(np.float32) * 0.1 for n in range(8)]
TEXTS = ["no" if label else "yes of course" for label in LABELS]


def test_text_alone_is_learnt(random_folder: Callable[..., Path], tmp_path: Path) -> None:
    models = {"text": str(random_folder("bert"))}
    settings = FitSettings(8, 4, 5e-3, "adamw")
    scores = fine_tune(models, None, TEXTS, LABELS, 2, EVERY, EVERY, settings, tmp_path)
    assert np.array_equal(scores.argmax(1), LABELS)


def test_both_together_go_on_where_they_stopped(
    random_folder: Callable[..., Path], tmp_path: Path
) -> None:
    models = {"audio": str(random_folder("hubert")), "text": str(random_folder("bert"))}
    settings = FitSettings(1, 4, 1e-3, "adamw", accumulate=2, warmup_steps=2)
    given = (models, WAVES, TEXTS, LABELS, 2, EVERY, EVERY, settings, tmp_path)
    first, again = fine_tune(*given), fine_tune(*given)
    assert first.shape == (8, 2)
    assert np.array_equal(first, again)


def test_nothing_to_train(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--fine-tune audio=MODEL or text=MODEL"):
        fine_tune({}, WAVES, TEXTS, LABELS, 2, EVERY, EVERY, FitSettings(1, 4, 1.0), tmp_path)
