import threading
import time
from collections.abc import Iterator

import pytest

from pacslite.archive.pool import in_order


def test_results_come_in_order_whichever_thread_is_faster() -> None:
    def slow(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(in_order(slow, range(200), threads=4)) == [(n, n * n) for n in range(200)]


def test_items_are_taken_a_few_ahead_only() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), threads=2)
    assert next(results) == (0, 0)
    assert len(taken) < 30
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pacslite-files")]


def test_an_error_ends_the_work() -> None:
    done: list[int] = []

    def fail(number: int) -> None:
        if number == 5:
            raise OSError("no")
        done.append(number)

    with pytest.raises(OSError, match="no"):
        list(in_order(fail, range(1000), threads=2))
    assert len(done) < 100
