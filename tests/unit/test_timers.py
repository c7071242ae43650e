import asyncio
from collections.abc import Callable

from pacslite.upperlayer.timers import LazyTimer


class FakeLoop:
    """A clock that is moved by hand, and who is to be called when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[FakeHandle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> "FakeHandle":
        self.handles.append(FakeHandle(when, callback))
        return self.handles[-1]

    @property
    def pending(self) -> list["FakeHandle"]:
        return [handle for handle in self.handles if not handle.is_done]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for handle in self.pending:
            if handle.at <= self.now:
                handle.is_done = True
                handle.callback()


class FakeHandle:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.is_done = False

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.is_done = True


def make() -> tuple[FakeLoop, LazyTimer, list[float]]:
    loop = FakeLoop()
    expiries: list[float] = []
    timer = LazyTimer(loop, lambda: expiries.append(loop.now))  # type: ignore[arg-type] # what a timer uses
    return loop, timer, expiries


def test_timer_expires_once_and_not_before_its_time() -> None:
    loop, timer, expiries = make()
    timer.start(10)
    loop.advance(9.9)
    assert expiries == []
    loop.advance(0.2)
    loop.advance(100)
    assert len(expiries) == 1
    assert loop.pending == []


def test_timer_that_is_moved_expires_after_its_last_start() -> None:
    loop, timer, expiries = make()
    timer.start(10)
    for _ in range(1000):
        loop.advance(1)
        timer.start(10)
    assert expiries == []
    loop.advance(9)
    assert expiries == []
    loop.advance(1)
    assert len(expiries) == 1


def test_moving_a_timer_later_leaves_its_handle_alone() -> None:
    loop, timer, _ = make()
    timer.start(10)
    for _ in range(1000):
        timer.start(10)
    assert len(loop.handles) == 1


def test_timer_may_be_moved_to_an_earlier_time() -> None:
    loop, timer, expiries = make()
    timer.start(100)
    timer.start(1)
    loop.advance(1)
    assert expiries == [1]
    assert loop.pending == []


def test_stopped_timer_does_not_expire_and_may_start_again() -> None:
    loop, timer, expiries = make()
    timer.start(10)
    timer.stop()
    loop.advance(20)
    assert expiries == []
    timer.start(10)
    loop.advance(10)
    assert expiries == [30]


def test_stopped_timer_restarted_before_its_handle_wakes_expires_in_time() -> None:
    loop, timer, expiries = make()
    timer.start(10)
    timer.stop()
    loop.advance(5)
    timer.start(10)
    loop.advance(5)
    assert expiries == []
    loop.advance(5)
    assert expiries == [15]


def test_closed_timer_leaves_nothing_with_the_loop() -> None:
    loop, timer, expiries = make()
    timer.start(10)
    timer.close()
    timer.close()
    assert loop.pending == []
    loop.advance(20)
    assert expiries == []


def test_callback_may_start_its_timer_again() -> None:
    loop = FakeLoop()
    expiries: list[float] = []

    def expired() -> None:
        expiries.append(loop.now)
        timer.start(10)

    timer = LazyTimer(loop, expired)  # type: ignore[arg-type] # as above
    timer.start(10)
    for _ in range(3):
        loop.advance(10)
    assert expiries == [10, 20, 30]


async def test_timer_expires_in_a_real_loop() -> None:
    expired = asyncio.Event()
    LazyTimer(asyncio.get_running_loop(), expired.set).start(0.01)
    async with asyncio.timeout(5):
        await expired.wait()
