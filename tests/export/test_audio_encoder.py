"""The network: padding is silent, absent labels teach nothing, the graph says what torch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

from realtime_ser_export.speech.audio_encoder import AudioEncoder  # noqa: E402
from realtime_ser_export.speech.front_end import mel_filterbank  # noqa: E402
from realtime_ser_export.speech.onnx_audio import OnnxEncoder, ParityError, check_parity  # noqa: E402
from realtime_ser_export.speech.settings import NetworkSettings  # noqa: E402
from realtime_ser_export.training.optimisation import masked_cross_entropy  # noqa: E402

TINY = NetworkSettings(stem_channels=4, width=16, blocks=1, heads=2, embedding=8, stacked=2)


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(3)
    return AudioEncoder(TINY).eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [4_000, 5_679, 16_001, 100_003, 240_000])
def test_padding_and_its_content_do_not_change_the_answer(
    encoder: AudioEncoder, samples: int
) -> None:
    clip = noise(1, samples)
    padded = torch.cat([torch.cat([clip, noise(1, 7_777, seed=1)], 1), noise(1, samples + 7_777)])
    with torch.no_grad():
        alone = encoder(clip, torch.tensor([samples]))
        together = encoder(padded, torch.tensor([samples, samples + 7_777]))
    for one, both in zip(alone, together, strict=True):
        assert torch.allclose(one[0], both[0], atol=1e-4)


def test_level_does_not_change_the_answer(encoder: AudioEncoder) -> None:
    clip, length = noise(1, 20_000), torch.tensor([20_000])
    with torch.no_grad():
        loud, quiet = encoder(clip, length)[0], encoder(0.03 * clip, length)[0]
    assert torch.allclose(loud, quiet, atol=1e-3)


def test_silence_has_a_finite_answer(encoder: AudioEncoder) -> None:
    with torch.no_grad():
        logits, embedding = encoder(torch.zeros(1, 4_000), torch.tensor([4_000]))
    assert torch.isfinite(logits).all() and torch.isfinite(embedding).all()


@pytest.mark.parametrize("warp", [0.9, 1.0, 1.1])
def test_every_band_has_bins_and_sums_to_one(warp: float) -> None:
    assert torch.allclose(mel_filterbank(warp).sum(1), torch.ones(64))


def test_a_label_that_a_corpus_lacks_gets_no_gradient() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    allowed = torch.tensor([[True, True, False], [True, True, True]])
    loss = masked_cross_entropy(logits, targets, allowed)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([np.log(2), np.log(3)])
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    assert logits.grad[1, 2] > 0


def test_an_exported_graph_agrees_at_every_length(exported: tuple[AudioEncoder, Path]) -> None:
    model, folder = exported
    path = folder / "audio" / "model.onnx"
    assert check_parity(model, path) < 1e-3
    logits, embedding = OnnxEncoder(path).outputs(
        np.zeros((3, 9_999), np.float32), np.array([9_999, 4_000, 5_000])
    )
    assert logits.shape == (3, 7) and embedding.shape == (3, 8)


def test_a_graph_of_other_weights_is_refused(exported: tuple[AudioEncoder, Path]) -> None:
    _, folder = exported
    torch.manual_seed(99)
    with pytest.raises(ParityError, match="do not ship this graph"):
        check_parity(AudioEncoder(TINY).eval(), folder / "audio" / "model.onnx")


def test_a_graph_does_not_tell_where_it_was_made(exported: tuple[AudioEncoder, Path]) -> None:
    content = (exported[1] / "audio" / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b"realtime_ser_export" not in content
