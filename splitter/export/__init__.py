"""Plans for other tools: Graphviz DOT, and ONNX with the standard's multi-device annotations."""
