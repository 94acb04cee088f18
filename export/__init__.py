"""Models in, bundles out: corpora, training, evaluation and ONNX export for `realtime_ser`.

The only part of the project that imports torch. Nothing in `realtime_ser` imports this package.
"""
