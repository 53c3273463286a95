"""Folders of runs inside a bundle: a run appears whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from runtime.host.report import RunReport
from runtime.host.report_view import run_text
from runtime.host.timeline import draw_timeline
from splitter.errors import BundleError


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its files."""

    draft: Path
    """While it runs."""
    path: Path
    """Once it is complete."""

    def write(self, report: RunReport) -> None:
        """Add the report as JSON, text and picture.

        Raises:
            BundleError: a file cannot be written.
        """
        with _told(self.path):
            (self.draft / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
            (self.draft / "report.txt").write_text(run_text(report))
            draw_timeline(report, self.draft / "timeline.png")


@contextmanager
def new_run(bundle: Path) -> Iterator[RunFolder]:
    """A folder ``runs/<UTC time>`` of ``bundle``; it appears when the block ends well.

    Raises:
        BundleError: it cannot be written.
    """
    runs = bundle / "runs"
    with _told(runs):
        folder = _reserve(runs)
    try:
        yield folder
        with _told(runs):
            folder.draft.rename(folder.path)
    except BaseException:
        shutil.rmtree(folder.draft, ignore_errors=True)
        raise


def _reserve(runs: Path) -> RunFolder:
    """A name that no other run has, not even one that starts in the same second."""
    runs.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    for number in count(1):
        name = now if number == 1 else f"{now}-{number}"
        folder = RunFolder(runs / f".{name}.part", runs / name)
        try:
            folder.draft.mkdir()
        except FileExistsError:
            continue
        if not folder.path.exists():
            return folder
        folder.draft.rmdir()
    raise AssertionError("count() does not end")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"{path}: cannot write the run: {error.strerror or error}; make room or copy the "
            "bundle to where it may be written"
        ) from error
