"""Work that leads to more work; other processes can import no module of the tests."""

import math
import operator
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.flow import Work, flow


def test_all_that_work_leads_to_is_done() -> None:
    seen: list[int] = []
    told: list[tuple[int, int]] = []

    def halved(number: int) -> Work:
        return Work("halving", operator.floordiv, (number, 2))

    def then(work: Work, half: int) -> Iterator[Work]:
        seen.append(work.given[0])
        if half:
            yield from (halved(half), halved(half))

    flow(2, [halved(8)], then, lambda done, of, _: told.append((done, of)), len, ("",))
    assert sorted(seen) == [1] * 8 + [2] * 4 + [4] * 2 + [8]
    assert told[-1] == (15, 15)


def test_a_failure_ends_all() -> None:
    done: list[int] = []

    def then(work: Work, _: Any) -> Iterator[Work]:
        done.append(work.given[0])
        yield Work("failing", math.isqrt, (work.given[0] - 1,))

    with pytest.raises(ValueError, match="nonnegative"):
        flow(1, [Work("first", math.isqrt, (1,))], then, lambda *_: None, len, ("",))
    assert done == [1, 0]
