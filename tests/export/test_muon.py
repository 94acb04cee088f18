"""Muon: what it makes of a gradient, and that it finds a minimum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

from realtime_ser_export.training.muon import Muon, orthogonalised  # noqa: E402


@given(
    count=st.integers(1, 3),
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 2**16),
)
def test_every_direction_comes_out_about_equally_long(
    count: int, rows: int, columns: int, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    matrices = torch.randn(count, rows, columns)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    # singular values within a factor of 10, as five rounds can level
    levelled = left @ torch.diag_embed(0.1 + 0.9 * values / values.amax(1, keepdim=True)) @ right
    out = orthogonalised(scale * levelled)
    lengths = torch.linalg.svdvals(out)
    assert lengths.min() > 0.5 and lengths.max() < 1.35
    # the directions themselves stay: what is left of and right of the singular values
    diagonal = left.mT @ out @ right.mT
    rest = diagonal - torch.diag_embed(torch.diagonal(diagonal, dim1=1, dim2=2))
    assert rest.abs().max() < 1e-3


def test_it_finds_the_minimum_of_a_quadratic() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(6, 9)
    matrix = torch.nn.Parameter(torch.zeros(6, 9))
    optimiser = Muon([matrix], weight_decay=0.0)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        matrix.grad = matrix.detach() - wanted
        optimiser.step()
    assert (matrix - wanted).abs().max() < 0.02


def test_matrices_of_one_shape_do_not_mix() -> None:
    torch.manual_seed(0)
    together = [torch.nn.Parameter(torch.randn(4, 3)) for _ in range(2)]
    alone = [torch.nn.Parameter(p.detach().clone()) for p in together]
    for parameters in (together, [alone[0]], [alone[1]]):
        optimiser = Muon(parameters, weight_decay=0.1)
        for _ in range(3):
            optimiser.param_groups[0]["lr"] = 0.01
            for p in parameters:
                p.grad = p.detach() ** 2
            optimiser.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)
