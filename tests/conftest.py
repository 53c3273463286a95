"""Fixtures for all tests: caches of their own, golden files, what to do where something lacks."""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips for want of something on a user's machine fails in CI."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in CI: {report.longreprtext}"
    return report


def pytest_configure() -> None:
    """Let tests interrupt the programs they start, even when this run is a background job.

    A shell has its background jobs ignore SIGINT, and what is ignored is inherited.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels and measurements of this run only, so that no test leans on an earlier run.

    Processes that share the tests of one run share what they compiled.
    """
    before = os.environ.get("SPLITTER_CACHE")
    run = tmp_path_factory.getbasetemp()
    run = run.parent if "PYTEST_XDIST_WORKER" in os.environ else run
    os.environ["SPLITTER_CACHE"] = str(run / "cache")
    yield
    if before is None:
        del os.environ["SPLITTER_CACHE"]
    else:
        os.environ["SPLITTER_CACHE"] = before


@pytest.fixture(scope="session")
def needs() -> Callable[[bool, str], None]:
    """Skips with the reason where something is missing; see `pytest_runtest_makereport`."""

    def check(found: bool, what: str) -> None:
        if not found:
            pytest.skip(f"{what} is missing")

    return check


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of that name in ``golden/`` beside the test."""

    def compare(name: str, text: str) -> None:
        file = request.path.parent / "golden" / name
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.is_file(), f"no {file}: pytest --update-golden writes it"
        assert text == file.read_text(encoding="utf-8"), "pytest --update-golden rewrites it"

    return compare


@pytest.fixture
def repository() -> Path:
    """The root of the project."""
    return Path(__file__).parent.parent
