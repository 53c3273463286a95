"""Node programs built in several ways, shared by the tests of this folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from node_harness import Builder, simple


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Stops at every use of bad memory and undefined behaviour."""
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return Builder(tmp_path_factory.mktemp("sanitized"), flags)


@pytest.fixture(scope="session")
def racing(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Reports every data race."""
    return Builder(tmp_path_factory.mktemp("racing"), ["-g", "-O1", "-fsanitize=thread"])


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """As it is shipped, but for the compiler."""
    return Builder(tmp_path_factory.mktemp("plain"), ["-O2"])


@pytest.fixture(scope="session")
def simple_node(sanitized: Builder) -> Path:
    """One node between host and host: wire 0 in, wire 1 = 2 * wire 0 out."""
    return sanitized.node(simple())
