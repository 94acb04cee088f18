"""Quantiles and ratios."""

from __future__ import annotations

import numpy as np

from realtime_ser.bench.statistics import ratio, summary


def test_quantiles_of_a_ramp() -> None:
    assert summary([]) is None
    found = summary([float(n) for n in range(101)])
    assert found == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_twice_as_slow_is_a_ratio_of_two_with_an_interval_around_it() -> None:
    before = np.random.default_rng(0).gamma(4, 10, 200)
    found = ratio(list(before), list(2 * before))
    assert found is not None
    assert found.value == 2
    assert 1.5 < found.low < 2 < found.high < 2.6


def test_two_draws_of_one_distribution_do_not_differ() -> None:
    random = np.random.default_rng(1)
    found = ratio(list(random.gamma(4, 10, 100)), list(random.gamma(4, 10, 100)))
    assert found is not None
    assert found.low < 1 < found.high


def test_no_ratio_of_too_little_or_of_nothing() -> None:
    assert ratio([1.0], [1.0, 2.0]) is None
    assert ratio([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]) is None
