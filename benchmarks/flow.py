"""Work that leads to more work, done by several processes."""

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from splitter.joint.steps import Progress


@dataclass(frozen=True)
class Work:
    """One call of a function that another process can import."""

    what: str
    """For people."""
    call: Callable[..., Any]
    given: tuple[Any, ...]


Then = Callable[[Work, Any], Iterable[Work]]
"""What a piece of work, now done with this result, leads to."""


def flow(
    jobs: int,
    begin: Iterable[Work],
    then: Then,
    report: Progress,
    initializer: Callable[..., object],
    initargs: tuple[Any, ...],
) -> None:
    """Do all work, what was asked first before the rest, ``jobs`` pieces at a time.

    Raises:
        Exception: of a piece of work; nothing more is asked for then.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer, initargs) as pool:
        open_work: dict[Future[Any], Work] = {}
        asked = 0

        def ask(works: Iterable[Work]) -> None:
            nonlocal asked
            for work in works:
                open_work[pool.submit(work.call, *work.given)] = work
                asked += 1

        try:
            ask(begin)
            while open_work:
                for future in wait(open_work, return_when=FIRST_COMPLETED).done:
                    work = open_work.pop(future)
                    ask(then(work, future.result()))
                    report(asked - len(open_work), asked, work.what)
        except BaseException:  # what has begun keeps its checkpoint; nothing else begins
            pool.shutdown(wait=False, cancel_futures=True)
            raise
