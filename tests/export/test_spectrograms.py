"""Spectrograms in the graph against the feature extractors that the models were trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from realtime_ser_export.graphs.spectrograms import (  # noqa: E402
    KaldiLogMel,
    MeanMfcc,
    WhisperLogMel,
    cosine_transform,
    empty_bands_expected,
    fourier_basis,
    hann,
)

RATE = 16_000


def sound(samples: int, level: float = 0.1) -> Any:
    """A rising tone in noise, with an offset."""
    time = np.arange(samples) / RATE
    noise = np.random.default_rng(samples).normal(0, 0.1, samples)
    return (level * (np.sin(2 * np.pi * (200 + 900 * time) * time) + noise + 0.2)).astype("f")


def test_the_basis_is_a_fourier_transform() -> None:
    frame = np.random.default_rng(0).normal(size=300)
    expected = np.fft.rfft(frame, 512)
    got = fourier_basis(300, 512) @ frame
    np.testing.assert_allclose(got[:257] - 1j * got[257:], expected, atol=1e-9)


@pytest.mark.parametrize("periodic", [True, False])
def test_the_window_is_that_of_torch(periodic: bool) -> None:
    expected = torch.hann_window(400, periodic=periodic, dtype=torch.float64).numpy()
    np.testing.assert_allclose(hann(400, periodic=periodic), expected, atol=1e-12)


def test_the_cosine_transform_is_orthonormal() -> None:
    matrix = cosine_transform(128)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(128), atol=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(128), [np.sqrt(128), *[0] * 127], atol=1e-12)


@pytest.mark.parametrize("samples", [400, 5_679, 31_999, 32_000])
@pytest.mark.parametrize("level", [0.0, 0.001, 1.0])
@pytest.mark.parametrize("bands", [80, 128])
def test_whisper(samples: int, level: float, bands: int) -> None:
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands, chunk_length=2)
    waveform = sound(samples, level)
    expected = extractor(waveform, sampling_rate=RATE, return_tensors="np").input_features[0]
    got = WhisperLogMel(extractor)(torch.from_numpy(waveform[None]))[0]
    np.testing.assert_allclose(got, expected, atol=2e-4)


@pytest.mark.parametrize("samples", [400, 5_679, 48_240, 48_399])
@pytest.mark.parametrize("level", [0.0, 0.001, 1.0])
def test_kaldi(samples: int, level: float) -> None:
    """Up to the one sample before another frame would be too many for the window."""
    with empty_bands_expected():
        extractor = transformers.ASTFeatureExtractor(max_length=300)
    waveform = sound(samples, level)
    expected = extractor(waveform, sampling_rate=RATE, return_tensors="np").input_values[0]
    got = KaldiLogMel(extractor)(torch.from_numpy(waveform[None]), torch.tensor([samples]))[0]
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_a_tone_has_the_cepstrum_of_its_spectrum() -> None:
    """The same from the definition, for a tone that starts and ends in the middle of a frame."""
    waveform = sound(20_000)
    mfcc = MeanMfcc()
    with torch.no_grad():
        got = mfcc(torch.from_numpy(waveform[None]), torch.tensor([20_000]))[0].numpy()
    padded = np.pad(waveform.astype(np.float64), 1_024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2_048) / 2_048)
    frames = [padded[start : start + 2_048] * window for start in range(0, 20_001, 512)]
    powers = mfcc.mel.filters.double().numpy() @ (np.abs(np.fft.rfft(frames, axis=1)) ** 2).T
    decibels = 10 * np.log10(np.maximum(powers, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    np.testing.assert_allclose(got, (cosine_transform(128) @ decibels).mean(1), atol=1e-3)
