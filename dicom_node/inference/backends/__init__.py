"""What runs a bundle's network: PyTorch, OpenVINO or ONNX Runtime, behind one protocol of NumPy arrays."""
