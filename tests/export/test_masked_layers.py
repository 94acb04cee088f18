"""Layers over valid samples alone: the same as the original layers on what is cut to size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

from realtime_ser_export.huggingface.masked_layers import (  # noqa: E402
    Loudness,
    MaskedGroupNorm,
    MeanPooling,
    blocked_scores,
    frames_after,
    receptive_field,
    with_replaced,
)

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


@given(lengths=st.lists(st.integers(2, 60), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_group_norm_over_valid_frames(lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    norm = torch.nn.GroupNorm(3, 3)
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
        norm.bias.normal_(generator=generator)
        x = 3 + 5 * torch.randn(len(lengths), 3, 70, generator=generator)
        got = MaskedGroupNorm(norm)(x, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            expected = norm(x[row : row + 1, :, :length])[0]
            torch.testing.assert_close(got[row, :, :length], expected, atol=1e-4, rtol=1e-4)


def test_group_norm_with_wider_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="one channel a group"):
        MaskedGroupNorm(torch.nn.GroupNorm(2, 4))


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    level=st.sampled_from([0.0, 1e-4, 0.1, 1.0]),
)
def test_loudness_is_that_of_the_feature_extractor(lengths: list[int], level: float) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    rng = np.random.default_rng(len(lengths))
    rows = [level * rng.normal(0.2, 1, length).astype(np.float32) for length in lengths]
    batch = np.full((len(rows), 320), np.inf, np.float32)
    for row, samples in enumerate(rows):
        batch[row, : len(samples)] = samples
    got = Loudness(True)(torch.from_numpy(batch), torch.tensor(lengths)).numpy()
    for row, samples in enumerate(rows):
        expected = extract(samples, sampling_rate=16_000).input_values[0]
        np.testing.assert_allclose(got[row, : len(samples)], expected, atol=1e-4)
        assert not got[row, len(samples) :].any()


def test_loudness_left_alone_is_only_cut() -> None:
    batch = torch.tensor([[1.0, 2.0, torch.nan]])
    assert Loudness(False)(batch, torch.tensor([2])).tolist() == [[1, 2, 0]]


@given(samples=st.integers(400, 20_000))
def test_frames_are_those_of_the_convolutions(samples: int) -> None:
    x, frames = torch.zeros(1, 1, samples), torch.tensor([samples])
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        x = torch.nn.functional.conv1d(x, torch.ones(1, 1, kernel), stride=stride)
        frames = frames_after(frames, kernel, stride)
    assert frames.tolist() == [x.shape[2]]


def test_the_receptive_field_of_wav2vec2_is_25_ms() -> None:
    assert receptive_field(KERNELS, STRIDES) == 400


def test_a_mean_and_a_softmax_leave_out_what_is_masked() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    x = torch.tensor([[[2.0], [4.0], [100.0]]])
    assert MeanPooling()(x, mask).tolist() == [[3]]
    weights = (torch.tensor([1.0, 1.0, 50.0]) + blocked_scores(mask)).softmax(-1)
    assert weights.tolist() == [[[[0.5, 0.5, 0]]]]
    assert np.isfinite(np.float16(blocked_scores(mask).min().item()))


def test_a_replaced_layer_leaves_the_original() -> None:
    original = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    first, second = original[0], original[1]
    copied = with_replaced(original, **{"1": torch.nn.Identity()})
    assert original[1] is second
    assert copied[0] is first and isinstance(copied[1], torch.nn.Identity)
