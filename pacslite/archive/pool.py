"""Work on many files in a few threads, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

A = TypeVar("A")
R = TypeVar("R")

_WAITING_PER_THREAD: Final = 8


def in_order(
    function: Callable[[A], R], items: Iterable[A], *, threads: int
) -> Generator[tuple[A, R], None, None]:
    """Yield each item with what `function` returns of it, in order; a few items ahead are worked on.

    What `function` raises is raised here, and ends the work.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="pacslite-files") as executor:
        waiting: deque[tuple[A, Future[R]]] = deque()
        try:
            for item in items:
                waiting.append((item, executor.submit(function, item)))
                if len(waiting) > threads * _WAITING_PER_THREAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
