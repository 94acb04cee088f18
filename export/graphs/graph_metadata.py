"""What exporters note in an ONNX file beside the graph."""

from __future__ import annotations

from pathlib import Path

import onnx


def forget_the_exporting_machine(path: Path) -> int:
    """Drop what is noted with each node (it may name local files), check, count the nodes."""
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.metadata_props[:]
    del model.metadata_props[:]
    for value in (*graph.value_info, *graph.input, *graph.output):
        del value.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return len(graph.node)
