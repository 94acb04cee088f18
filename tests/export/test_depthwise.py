"""The cheap depthwise convolution of training is the plain one, forwards and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")

from realtime_ser_export.speech.depthwise import DepthwiseConvolution  # noqa: E402


@given(
    batch=st.integers(1, 3),
    time=st.integers(1, 20),
    width=st.integers(1, 6),
    half=st.integers(0, 4),
    seed=st.integers(0, 2**16),
)
def test_it_is_the_plain_convolution(
    batch: int, time: int, width: int, half: int, seed: int
) -> None:
    torch.manual_seed(seed)
    plain = torch.nn.Conv1d(width, width, 2 * half + 1, padding=half, groups=width)
    x = torch.randn(batch, time, width, requires_grad=True)
    wanted = torch.randn(batch, time, width)
    inputs = (x, plain.weight, plain.bias)
    expected = plain(x.transpose(1, 2)).transpose(1, 2)
    expected_gradients = torch.autograd.grad((expected * wanted).sum(), inputs)
    got = DepthwiseConvolution.apply(*inputs)
    torch.testing.assert_close(got, expected)
    # Sums of up to 60 products in another order.
    for gradient, reference in zip(
        torch.autograd.grad((got * wanted).sum(), inputs), expected_gradients, strict=True
    ):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_transposed_input_is_right_too() -> None:
    """The one backward is given need not be contiguous."""
    torch.manual_seed(0)
    inputs = (
        torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(4, 1, 5, dtype=torch.float64, requires_grad=True),
        torch.randn(4, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(
        lambda *given_: DepthwiseConvolution.apply(*given_).transpose(1, 2), inputs
    )
