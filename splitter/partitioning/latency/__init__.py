"""The latency of one request: accelerator calls of one computer, and bounds by blocks."""
