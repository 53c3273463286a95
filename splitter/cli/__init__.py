"""The ``splitter`` command."""

from splitter.cli.main import main

__all__ = ["main"]
