"""ONNX graphs: exported, optimised, quantised, compared with the model behind them, inspected."""
