"""Layers rounded so that their outputs stay: second moments of inputs, corrections, feedback."""
