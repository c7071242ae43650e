from datetime import UTC, datetime, timedelta

import pytest

from pacslite.archive import lease_watch
from pacslite.archive.lease_watch import ClockWatch, LeaseWatch

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_lease_that_says_the_same_for_too_long_has_fallen_silent() -> None:
    watch = LeaseWatch(60.0)
    assert watch.silent({1: MOMENT}, 1000.0) == {}
    assert watch.silent({1: MOMENT}, 1059.0) == {}
    assert watch.silent({1: MOMENT}, 1061.0) == {1: MOMENT}


def test_a_lease_that_is_renewed_is_alive_whatever_its_clock_says() -> None:
    watch = LeaseWatch(60.0)
    moments = [MOMENT, MOMENT + DAY, MOMENT - DAY, MOMENT + timedelta(microseconds=1)]
    for place, moment in enumerate(moments):
        assert watch.silent({1: moment}, 1000.0 + 50 * place) == {}
    assert watch.silent({1: moments[-1]}, 1211.0) == {1: moments[-1]}


def test_a_watch_that_slept_does_not_take_what_was_renewed_meanwhile() -> None:
    watch = LeaseWatch(60.0)
    watch.silent({1: MOMENT, 2: MOMENT}, 0.0)
    assert watch.silent({1: MOMENT + DAY, 2: MOMENT}, 10_000.0) == {2: MOMENT}


def test_leases_that_ended_are_forgotten() -> None:
    watch = LeaseWatch(60.0)
    watch.silent({1: MOMENT}, 0.0)
    watch.silent({}, 10.0)
    assert watch.silent({1: MOMENT}, 100.0) == {}


def test_only_a_step_back_is_noticed_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = iter((5000.0, 5000.0, 4999.9, 8600.0, 5000.0, 5000.0))
    monkeypatch.setattr(lease_watch, "_offset", lambda: next(offsets))
    watch = ClockWatch()
    assert [watch.was_set_back() for _ in range(5)] == [False, False, False, True, False]
