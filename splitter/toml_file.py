"""TOML files of ours: read into checked tables with every fault in words; numbers stay exact."""

import tomllib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from splitter.errors import SplitterError
from splitter.topology_schema import read_table

GIGA, MEGA = Decimal(10) ** 9, Decimal(10) ** 6
MILLI, MICRO, NANO = Decimal(10) ** -3, Decimal(10) ** -6, Decimal(10) ** -9

_Table = TypeVar("_Table", bound=BaseModel)


def read_toml(file: Traversable, kind: type[_Table], error: type[SplitterError]) -> _Table:
    """The whole file as a table of ``kind``.

    Raises:
        error: there is no such file, or it is malformed; the message has every fault.
    """
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError as cause:
        raise error(f"{file}: no such file") from cause
    except OSError as cause:
        raise error(f"{file}: cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise error(f"{file}: is not UTF-8 text: {cause.reason}") from cause
    return read_text(file, text, kind, error)


def read_text(
    where: Traversable | Path | str, text: str, kind: type[_Table], error: type[SplitterError]
) -> _Table:
    """``text`` as a table of ``kind``; ``where`` it stands begins every complaint.

    Raises:
        error: it is malformed; the message has every fault.
    """
    try:
        data = tomllib.loads(text, parse_float=_decimal)
    except (ValueError, RecursionError) as cause:
        raise error(f"{where}: is not valid TOML: {cause}") from cause
    table, faults = read_table(kind, data)
    refuse(where, faults, error)
    assert table is not None
    return table


def refuse(
    file: Traversable | Path | str, faults: Sequence[str], error: type[SplitterError]
) -> None:
    """Raise ``error`` with all faults, if there are any."""
    if len(faults) == 1:
        raise error(f"{file}: {faults[0]}")
    if faults:
        raise error(f"{file}: {len(faults)} faults:\n  " + "\n  ".join(faults))


def scaled(value: float, unit: Decimal) -> int | Decimal:
    """``value`` in ``unit``, with all the digits that reading it back needs."""
    number = Decimal(repr(value)) / unit
    return int(number) if number == number.to_integral_value() else number


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond Decimal's range; refused later as not finite
        return Decimal("inf")
