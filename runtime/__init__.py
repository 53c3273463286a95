"""Builds one native program per device and runs them together."""
