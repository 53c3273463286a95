"""Real node processes, fed by the host."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runtime.host import Bundle


def x(value: float = 0.0) -> np.ndarray:
    return np.full((2, 3), value, np.float32)


def test_one_request(chain: Bundle) -> None:
    with chain.launch(timeout_s=10) as deployment:
        assert np.array_equal(deployment(x(1)), x(4))
        assert np.array_equal(deployment(x=x(2)), x(5))


def test_map_keeps_the_order_and_reads_lazily(chain: Bundle) -> None:
    taken: list[int] = []

    def items() -> Iterator[np.ndarray]:
        for i in range(50):
            taken.append(i)
            yield x(1000 + i)

    with chain.launch(timeout_s=10) as deployment:
        for i, y in enumerate(deployment.map(items(), in_flight=4)):
            assert np.array_equal(y, x(1003 + i))
            assert len(taken) <= i + 4
        assert len(deployment.times) == 50
