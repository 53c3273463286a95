"""Files that verbs write where the user says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitter.errors import SplitterError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around whatever makes ``path``, which appears whole or not at all, by renaming.

    Raises:
        SplitterError: it cannot be written; devices, pipes and folders are never replaced.
    """
    if path.exists() and not path.is_file():
        raise SplitterError(f"cannot write {path}: it exists and is no file; give another name")
    try:
        yield
    except OSError as error:
        raise SplitterError(
            f"cannot write {path}: {error.strerror or error}; give another name or make room"
        ) from error
