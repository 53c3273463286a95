"""The latency of one request: bounds by blocks, and calls on the accelerators of one computer."""
