"""The deformable operators in ONNX: kept whole while a graph is made, then written in standard operators."""
