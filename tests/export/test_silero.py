"""Silero for many streams, made out of Silero for one."""

from __future__ import annotations

import importlib.resources

import numpy as np
import onnx
from onnx import numpy_helper

from realtime_ser_export.graphs.silero import original, streams_graph


def test_the_product_has_the_graph_that_is_made_here() -> None:
    folder = importlib.resources.files("realtime_ser.models").joinpath("silero_vad")
    served = onnx.load_model_from_string(folder.joinpath("streams.onnx").read_bytes())
    made = streams_graph(original())
    assert list(served.graph.node) == list(made.graph.node)
    for one, other in zip(served.graph.initializer, made.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))


def test_its_licence_goes_with_it() -> None:
    folder = importlib.resources.files("realtime_ser.models").joinpath("silero_vad")
    assert "Silero Team" in folder.joinpath("LICENSE").read_text()
