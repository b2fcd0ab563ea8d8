"""Models as C++ headers and ONNX graphs."""
