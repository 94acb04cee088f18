"""The labels of a model become those of a bundle, and their probabilities with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[test]'")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from realtime_ser_export.bundles.label_mapping import (  # noqa: E402
    LabelMapping,
    append_mapping,
    map_labels,
    use_as_embedding,
)
from realtime_ser_export.errors import ExportError  # noqa: E402

BUNDLE = ("angry", "happy", "neutral", "sad")


def graph(width: int, opset: int = 17, half: bool = False) -> Any:
    """logits = x, or in half precision x rounded to it; the embedding is twice the logits."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["x"], ["inside"], to=kind),
        helper.make_node("Cast", ["inside"], ["logits"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["logits", "logits"], ["embedding"]),
    ]

    def tensor(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])

    body = helper.make_graph(nodes, "g", [tensor("x")], [tensor("logits"), tensor("embedding")])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def run(model: Any, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    import onnxruntime

    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    for value in session.get_outputs():
        assert value.shape[0] == "batch"
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@st.composite
def assignments(draw: st.DrawFn) -> tuple[int, ...]:
    """For each label of a model a label of the bundle, or -1 for none; each of the bundle's twice
    or once, in any order."""
    width = draw(st.integers(len(BUNDLE), 9))
    rest = draw(
        st.lists(
            st.integers(-1, len(BUNDLE) - 1),
            min_size=width - len(BUNDLE),
            max_size=width - len(BUNDLE),
        )
    )
    return tuple(draw(st.permutations([*range(len(BUNDLE)), *rest])))


def mapping_of(assigned: tuple[int, ...], *, in_bundle_order: bool = False) -> LabelMapping:
    own = [f"own{i}" for i in range(len(assigned))]
    mapped = {name: BUNDLE[to] for name, to in zip(own, assigned, strict=True) if to >= 0}
    dropped = [name for name, to in zip(own, assigned, strict=True) if to < 0]
    return map_labels(own, BUNDLE, mapped, dropped, "model", in_bundle_order=in_bundle_order)


@settings(max_examples=60, deadline=None)
@given(
    assigned=assignments(),
    opset=st.sampled_from([13, 17, 18, 21]),
    half=st.booleans(),
    in_bundle_order=st.booleans(),
    seed=st.integers(0, 2**31),
    size=st.sampled_from([0.1, 3.0, 300.0]),
)
def test_probabilities_are_grouped_and_renormalised(
    assigned: tuple[int, ...], opset: int, half: bool, in_bundle_order: bool, seed: int, size: float
) -> None:
    """However the labels map, softmax(mapped logits) is what grouping the model's own gives."""
    x = (size * np.random.default_rng(seed).standard_normal((3, len(assigned)))).astype(np.float32)
    model = graph(len(assigned), opset, half)
    before = run(model, x)
    mapping = mapping_of(assigned, in_bundle_order=in_bundle_order)
    append_mapping(model, "logits", mapping)
    after = run(model, x)
    own = softmax(before["logits"])
    grouped = np.stack(
        [
            own[:, [i for i, to in enumerate(assigned) if to == label]].sum(axis=1)
            for label in range(len(BUNDLE))
        ],
        axis=1,
    )
    kept = grouped.sum(axis=1)
    got = softmax(after["logits"])[:, [mapping.labels.index(label) for label in BUNDLE]]
    assert np.isfinite(after["logits"]).all()
    # Where the model is all but sure of a dropped label there is nothing left to share out.
    sure = kept > 1e-12
    expected = grouped[sure] / kept[sure, None]
    np.testing.assert_allclose(got[sure], expected, atol=3e-5)
    np.testing.assert_allclose(
        after["logits"], mapping.apply(before["logits"]), rtol=1e-5, atol=1e-4
    )
    np.testing.assert_array_equal(after["embedding"], before["embedding"])


def test_the_last_label_is_dropped_though_the_others_keep_their_places() -> None:
    model = graph(5)
    mapping = mapping_of((0, 1, 2, 3, -1))
    append_mapping(model, "logits", mapping)
    values = run(model, np.array([[1, 2, 3, 4, 5]], np.float32))
    np.testing.assert_array_equal(values["logits"], [[1, 2, 3, 4]])
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 4


def test_one_to_one_leaves_the_graph_alone_and_keeps_its_order() -> None:
    model = graph(4)
    before = model.SerializeToString()
    mapping = mapping_of((3, 1, 0, 2))
    append_mapping(model, "logits", mapping)
    assert model.SerializeToString() == before
    assert mapping.labels == ("sad", "happy", "angry", "neutral")


def test_a_fusion_head_gets_the_order_of_the_bundle() -> None:
    model = graph(4)
    mapping = mapping_of((3, 1, 0, 2), in_bundle_order=True)
    append_mapping(model, "logits", mapping)
    use_as_embedding(model, "logits", "embedding")
    values = run(model, np.array([[10, 20, 30, 40]], np.float32))
    assert mapping.labels == BUNDLE
    np.testing.assert_array_equal(values["logits"], [[30, 20, 40, 10]])
    np.testing.assert_array_equal(values["embedding"], values["logits"])


def test_a_quantised_graph_is_mapped_too(tmp_path: Any) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 5)).astype(np.float32)
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(body, opset_imports=opset, ir_version=8), tmp_path / "f.onnx")
    quantize_dynamic(tmp_path / "f.onnx", tmp_path / "q.onnx", weight_type=QuantType.QInt8)
    model = onnx.load(tmp_path / "q.onnx")
    x = rng.standard_normal((6, 8)).astype(np.float32)
    before = run(model, x)["logits"]
    mapping = mapping_of((0, 1, 2, 3, 0))
    append_mapping(model, "logits", mapping)
    np.testing.assert_allclose(run(model, x)["logits"], mapping.apply(before), atol=1e-5)


@pytest.mark.parametrize(
    ("own", "mapping", "dropped", "message"),
    [
        (("a", "b", "c"), {"a": "angry", "b": "sad"}, (), "must either map or drop c"),
        (("a", "b"), {"a": "angry", "b": "sad"}, ("b",), "must either map or drop b"),
        (("a", "b"), {"a": "angry", "b": "sad", "z": "sad"}, (), "speaks of z"),
        (("a", "b"), {"a": "angry", "b": "sad"}, ("z",), "speaks of z"),
        (("a", "b"), {"a": "angry", "b": "angry"}, (), "none is mapped to sad"),
    ],
)
def test_what_is_not_said_is_not_guessed(
    own: tuple[str, ...], mapping: dict[str, str], dropped: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ExportError, match=f"some/model has the labels a, b.*{message}"):
        map_labels(own, ("angry", "sad"), mapping, dropped, "some/model")
