"""Shrinks the layers of a traced program (low rank, quantization)."""
