"""The text encoder that stands for MarIA and BERTIN: from other corpora's rows to the task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("sklearn")

import torch

from realtime_ser_export.papers.fit import FitSettings, fit, predict
from realtime_ser_export.papers.own_texts import ENGLISH, SPANISH, Tuned, pretrained
from realtime_ser_export.text.batches import padded
from realtime_ser_export.text.corpora import TextRow
from realtime_ser_export.text.labels import CORPORA
from realtime_ser_export.text.settings import NetworkSettings, TextSettings

SMALL = TextSettings(
    steps=4,
    batch_size=8,
    network=NetworkSettings(vocabulary=300, width=16, inner=16, embedding=16),
)
TEXTS = [
    "qué alegría tan grande, hoy hemos ganado",
    "qué rabia me da perder de esta manera",
    "estoy muy alegre de verte por aquí",
    "me da mucha rabia que llegues siempre tarde",
] * 6
LABELS = np.array([0, 1, 0, 1] * 6, np.int64)


def rows() -> list[TextRow]:
    emotions = ("joy", "anger")
    return [
        TextRow(text, "emoevent_es", "es", "train", (emotions[label],))
        for text, label in zip(TEXTS, LABELS, strict=True)
    ]


def test_everything_but_the_task_itself_is_learnt_from() -> None:
    assert {*ENGLISH, *SPANISH} == {*CORPORA} - {"meacorpus"}


def test_what_was_pretrained_is_not_trained_again(tmp_path: Path) -> None:
    first, ids = pretrained(rows(), TEXTS, TEXTS[:2], SMALL, tmp_path, 0)
    assert len(ids) == len(TEXTS)
    written = (tmp_path / "best.pt").stat().st_mtime_ns
    again, same = pretrained(rows(), TEXTS, TEXTS[:2], SMALL, tmp_path, 0)
    assert (tmp_path / "best.pt").stat().st_mtime_ns == written
    for before, after in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(before, after)
    assert [row.tolist() for row in ids] == [row.tolist() for row in same]


def test_the_whole_network_learns_the_task(tmp_path: Path) -> None:
    encoder, ids = pretrained(rows(), TEXTS, TEXTS, SMALL, tmp_path / "encoder", 0)
    before = encoder.tokens.weight.detach().clone()

    def inputs(clips: np.ndarray) -> tuple[torch.Tensor, ...]:
        tokens, mask = padded([ids[int(clip)] for clip in clips])
        return torch.from_numpy(tokens), torch.from_numpy(mask)

    network = Tuned(encoder, 2)
    every = np.arange(len(TEXTS))
    settings = FitSettings(30, 8, 5e-3, "adamw")
    fit(network, inputs, LABELS, every[:16], every[16:], settings, tmp_path, "tuning")
    assert (predict(network, inputs, every, 32).argmax(1) == LABELS).all()
    assert not torch.equal(encoder.tokens.weight, before)
