"""Estimators of accuracy and of latency, each beside its control."""
