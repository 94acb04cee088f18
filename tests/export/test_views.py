"""Training views: made of the right rows, and of nothing but power that a sound could have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

from realtime_ser_export.graphs.half_storage import store_exact_halves  # noqa: E402
from realtime_ser_export.speech.audio_cache import AudioCache  # noqa: E402
from realtime_ser_export.speech.augment import Disguise, mix_power, reverberate  # noqa: E402
from realtime_ser_export.speech.front_end import (  # noqa: E402
    BANDS,
    SERVED_FLOOR,
    FrontEnd,
    mel_filterbank,
)
from realtime_ser_export.speech.settings import SoundSettings, ViewSettings  # noqa: E402
from realtime_ser_export.speech.spectra_cache import (  # noqa: E402
    KEPT_BINS,
    SpectraCache,
    open_spectra,
    spectra,
)
from realtime_ser_export.speech.views import (  # noqa: E402
    LONGEST_JOINED_FRAMES,
    SHORTEST_FRAMES,
    Views,
)
from realtime_ser_export.training.corpora import Clip  # noqa: E402


def sounds(count: int = 4, samples: int = 32_000) -> AudioCache:
    """Noise of `samples` each, speech from 0.5 s to 1.5 s."""
    rng = np.random.default_rng(1)
    audio = rng.integers(-3000, 3000, count * samples).astype(np.int16)
    bounds = np.tile(np.array([8_000, 24_000]), (count, 1))
    return AudioCache(audio, np.arange(count + 1) * samples, bounds)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SpectraCache:
    return open_spectra(tmp_path_factory.mktemp("cache"), sounds())


def views_of(cache: SpectraCache, **chosen: float) -> Views:
    clips = [Clip(f"{i}", "cremad", "train", f"s{i // 2}", 0, None) for i in range(4)]
    return Views(clips, cache, np.arange(4), ViewSettings(**chosen))


def test_an_untouched_view_has_the_features_that_are_served(cache: SpectraCache) -> None:
    start, stop = views_of(cache).utterance(2)
    power = np.exp(cache.log_power[start:stop:2].astype(np.float32))
    bands = mel_filterbank(1.0, KEPT_BINS) @ torch.from_numpy(power).T
    frames = torch.tensor([bands.shape[1]])
    ours = FrontEnd().features(bands[None], frames, SERVED_FLOOR)
    waveform = torch.from_numpy(sounds().utterance(2))[None]
    served, _ = FrontEnd()(waveform, torch.tensor([waveform.shape[1]]))
    shared = min(ours.shape[2], served.shape[2])
    # The cut ends lie a frame apart, which moves the mean of each band a little.
    assert (ours[..., :shared] - served[..., :shared]).abs().mean() < 0.05


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), index=st.integers(0, 3))
def test_a_view_stays_inside_its_person(cache: SpectraCache, seed: int, index: int) -> None:
    rows = views_of(cache, join_probability=0.5).draw(index, np.random.default_rng(seed))
    assert SHORTEST_FRAMES <= len(rows) <= LONGEST_JOINED_FRAMES
    first = cache.offsets[index // 2 * 2]
    assert first <= rows.min() and rows.max() < cache.offsets[index // 2 * 2 + 2]


def test_a_silent_recording_and_a_very_short_one_have_spectra() -> None:
    for waveform in (np.zeros(100, np.float32), np.zeros(4_000, np.float32)):
        rows = spectra(waveform)
        assert len(rows) >= 1 and np.isfinite(rows).all()


def test_a_mixture_has_the_ratio_that_was_asked_for() -> None:
    power, noise = torch.rand(2, 30, KEPT_BINS), torch.rand(2, 30, KEPT_BINS)
    frames = torch.tensor([30, 20])
    mixed = mix_power(power, noise, frames, torch.tensor([10.0, torch.inf]))
    added = (mixed - power)[0]
    assert 10 * torch.log10(power[0].sum() / added.sum()) == pytest.approx(10.0, abs=1e-3)
    assert torch.equal(mixed[1], power[1])


def test_a_room_only_adds_and_what_it_adds_dies_away() -> None:
    power = torch.zeros(1, 60, KEPT_BINS)
    power[0, 5] = 1.0
    wet = reverberate(power, torch.tensor([0.5]), torch.tensor([0.0]))
    assert torch.equal(wet[0, :6], power[0, :6])
    tail = wet[0, 6:, 0]
    assert (tail[1:] < tail[:-1]).all() and (tail > 0).all()
    assert 10 * torch.log10(tail[0] / tail[50]) == pytest.approx(60.0, abs=0.5)
    # All of it together has the power of the direct sound: 0 dB.
    assert wet[0, 6:, 0].sum() == pytest.approx(1.0, abs=0.01)


def test_features_are_finite_however_a_view_is_disguised() -> None:
    torch.manual_seed(0)
    power, noise = torch.rand(16, 70, KEPT_BINS) ** 8, torch.rand(16, 70, KEPT_BINS)
    frames = torch.randint(50, 71, (16,))
    power[torch.arange(70)[None] >= frames[:, None]] = 0
    everything = SoundSettings(babble_probability=1, room_probability=1, noise_probability=1)
    features = Disguise(everything).features(FrontEnd(), power, frames, noise)
    assert features.shape == (16, BANDS, 70)
    assert torch.isfinite(features).all()
    assert (features[torch.arange(70).expand(16, BANDS, 70) >= frames[:, None, None]] == 0).all()


def test_only_what_a_half_holds_is_stored_in_half(tmp_path: Path) -> None:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    exact = rng.integers(-100, 100, (32, 32)).astype(np.float32)
    inexact = rng.random((32, 32)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "exact"], ["y"]),
            helper.make_node("MatMul", ["y", "inexact"], ["z"]),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 32])],
        [numpy_helper.from_array(exact, "exact"), numpy_helper.from_array(inexact, "inexact")],
    )
    path = tmp_path / "model.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    x = rng.random((1, 32)).astype(np.float32)

    def answer() -> np.ndarray:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]

    before = answer()
    assert store_exact_halves(path) == 1
    assert np.array_equal(answer(), before)
    types = {each.name: each.data_type for each in onnx.load(path).graph.initializer}
    assert types == {"exact_stored_in_half": TensorProto.FLOAT16, "inexact": TensorProto.FLOAT}
