"""Networks: their data, training, evaluation and export to ONNX."""
