"""Starts, feeds, watches and stops the nodes of a bundle."""

from runtime.host.bundle import Bundle
from runtime.host.deployment import Deployment

__all__ = ["Bundle", "Deployment"]
