"""Starts, feeds, watches and stops the nodes of a bundle."""
