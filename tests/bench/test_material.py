"""The speech that is measured with."""

from __future__ import annotations

import numpy as np
import pytest

from realtime_ser.bench.material import conversation
from realtime_ser.errors import ConfigError
from realtime_ser.types import SAMPLE_RATE_HZ


@pytest.mark.parametrize("utterance_s", [2.0, 4.0, 6.0])
def test_it_talks_where_it_says_so_and_about_as_long_as_asked(utterance_s: float) -> None:
    material = conversation(utterance_s, 1.5, 5, seed=3)
    assert len(material.speech) == 5
    silences = [material.samples[:SAMPLE_RATE_HZ]]
    for begun, end in material.speech:
        assert (end - begun) / SAMPLE_RATE_HZ == pytest.approx(utterance_s, abs=1.1)
        spoken = material.samples[begun:end].astype(float)
        assert np.sqrt((spoken**2).mean()) > 300
        silences.append(material.samples[end : end + round(1.5 * SAMPLE_RATE_HZ)])
    assert max(int(np.abs(silence).max()) for silence in silences) < 60


def test_another_seed_begins_with_another_sentence() -> None:
    first, second = (conversation(2, 1, 1, seed=seed).samples for seed in (0, 1))
    assert len(first) != len(second) or (first != second).any()


def test_blocks_are_the_recording() -> None:
    material = conversation(1, 0.5, 1)
    joined = np.concatenate([block.samples for block in material.blocks()])
    assert (joined == material.samples).all()
    assert material.seconds == len(joined) / SAMPLE_RATE_HZ


@pytest.mark.parametrize("utterance_s", [0.5, 15.0])
def test_what_no_sentence_can_make_is_refused(utterance_s: float) -> None:
    with pytest.raises(ConfigError, match="1 to 14 s"):
        conversation(utterance_s, 1, 1)
