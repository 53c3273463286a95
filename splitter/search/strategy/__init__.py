"""Strategies: how to choose a network and its split together."""
