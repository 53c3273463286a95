"""Fixtures for all tests: caches of their own, and no idle torch threads on small machines."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels and measurements of this run only, so that no test leans on an earlier run."""
    before = os.environ.get("SPLITTER_CACHE")
    os.environ["SPLITTER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["SPLITTER_CACHE"]
    else:
        os.environ["SPLITTER_CACHE"] = before


def needs(found: bool, what: str) -> None:
    """Skip with the reason where ``what`` is missing; in CI that is a failure."""
    if found:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@pytest.fixture
def repository() -> Path:
    """The root of the project."""
    return Path(__file__).parent.parent
