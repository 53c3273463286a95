"""What a joint search is asked for, and the folder in which it keeps what it did."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from splitter.errors import UsageError
from splitter.files import write_whole
from splitter.search.estimate.training import Schedule

DATA: Mapping[str, str] = {"fashion_mnist": "fashion", "mnist": "mnist", "digits": "digits"}
"""Names of data sets, and their loaders in `splitter.zoo.datasets`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is searched, for what, and how thoroughly."""

    space: str
    topology: str
    """Name or file, as the user wrote it."""
    data: str
    latency_s: float
    seed: int = 0
    supernet_epochs: float = 8.0
    tune_epochs: float = 1.0
    """Of each candidate, from the supernet's weights."""
    final_epochs: float = 4.0
    """Of the winner, from where its fine-tuning ended."""
    passes: int = 8
    """Of the measurement of conditional means."""
    candidates: int = 3
    """Winner and runners-up that are fine-tuned in each round."""
    rounds: int = 2
    """Rounds of solving and correcting at most."""
    budget_minutes: float | None = None
    roofline: bool = False
    """Whether measured layer times are ignored."""
    train_images: int = 0
    """Images trained on; 0 for all."""

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: a value is impossible.
        """
        if self.data not in DATA:
            raise UsageError(f"no data set {self.data!r}; there are {', '.join(DATA)}")
        if not (isfinite(self.latency_s) and self.latency_s > 0):
            raise UsageError(f"--latency-ms {self.latency_s * 1e3:g}: give more than 0")
        if self.budget_minutes is not None and not self.budget_minutes > 0:
            raise UsageError(f"--budget-minutes {self.budget_minutes:g}: give more than 0")

    def schedule(self, epochs: float, learning_rate: float = 0.1) -> Schedule:
        """A training of this search."""
        return Schedule(epochs, learning_rate=learning_rate, flip=self.data == "fashion_mnist")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder of one search: steps that were done are not done again."""

    path: Path

    def open(self, settings: Settings) -> None:
        """Make the folder, or go on in one of the same settings.

        Raises:
            UsageError: the folder holds something else.
        """
        mark, wanted = self.path / "settings.json", asdict(settings)
        if mark.is_file():
            known = self._read(mark)
            odd = [key for key, value in wanted.items() if known.get(key) != value]
            if odd:
                raise UsageError(
                    f"{self.path} holds a search with another {odd[0]} ({known.get(odd[0])!r}, not "
                    f"{wanted[odd[0]]!r}); give the same options to go on, or another folder"
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"{self.path} exists and is no folder of a search; give another name")
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(mark, json.dumps(wanted, indent=1) + "\n")

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``name``.json holds, made and written the first time."""
        file = self.path / f"{name}.json"
        if file.is_file():
            return self._read(file)
        made = make()
        write_whole(file, json.dumps(made, indent=1) + "\n")
        return self._read(file)

    def _read(self, file: Path) -> Any:
        try:
            return json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {error}; delete it to redo it") from error
