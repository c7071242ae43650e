"""Dates and times, as PS3.5 6.2 and as peers write them."""

import itertools
from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.model.dates import (
    MICROSECONDS_PER_DAY,
    Interval,
    parse_date,
    parse_date_time,
    parse_offset,
    parse_time,
)

HOUR = 3600 * 10**6
EPOCH = datetime(1, 1, 1, tzinfo=UTC)


def instant(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@given(st.dates())
def test_m13_every_date_of_the_calendar_is_itself(day: date) -> None:
    text = f"{day.year:04}{day.month:02}{day.day:02}"
    assert parse_date(text) == text
    assert parse_date(f"{text[:4]}.{text[4:6]}.{text[6:]}") == text


@pytest.mark.parametrize(
    "text",
    ["", "2024", "20240230", "20241301", "2024-01-01", "2024.0101", "00000101", "٢٠٢٤٠١٠١", "20240101 "],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("text", "start", "width"),
    [
        ("10", 10 * HOUR, HOUR),
        ("1030", 10 * HOUR + HOUR // 2, HOUR // 60),
        ("103015", 37_815 * 10**6, 10**6),
        ("103015.5", 37_815 * 10**6 + 500_000, 10**5),
        ("103015.000001", 37_815 * 10**6 + 1, 1),
        ("10:30:15", 37_815 * 10**6, 10**6),
        ("235960", MICROSECONDS_PER_DAY - 1, 1),
    ],
)
def test_m14_a_time_stands_for_its_whole_interval(text: str, start: int, width: int) -> None:
    assert parse_time(text) == Interval(start, start + width - 1)


@pytest.mark.parametrize(
    "text", ["", "1", "24", "1060", "103061", "10301", "103015.", "103015.1234567", "10 "]
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


@given(st.times())
def test_every_time_of_the_day_starts_where_the_clock_says(moment: time) -> None:
    interval = parse_time(f"{moment:%H%M%S.%f}")
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    assert interval == Interval(seconds * 10**6 + moment.microsecond, seconds * 10**6 + moment.microsecond)


@given(st.times())
def test_less_precision_contains_more(moment: time) -> None:
    text = f"{moment:%H%M%S.%f}"
    intervals = [parse_time(text[:length]) for length in (2, 4, 6, 8, 13)]
    for outer, inner in itertools.pairwise(intervals):
        assert outer is not None
        assert inner is not None
        assert outer.start <= inner.start <= inner.end <= outer.end


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("+0000", timedelta()),
        ("-0330", -timedelta(hours=3, minutes=30)),
        ("+1400", timedelta(hours=14)),
        ("+1401", None),
        ("+0060", None),
        ("0100", None),
        ("+01:00", None),
    ],
)
def test_m17_offsets(text: str, offset: timedelta | None) -> None:
    assert parse_offset(text) == offset


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),  # noqa: DTZ001 - Hypothesis wants them so
    st.integers(-12 * 60, 14 * 60),
)
def test_m16_a_date_time_with_offset_is_an_instant(moment: datetime, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    aware = moment.replace(tzinfo=zone)
    sign, total = "-" if minutes < 0 else "+", abs(minutes)
    clock = f"{moment.year:04}{moment:%m%d%H%M%S.%f}"
    expected = Interval(instant(aware), instant(aware))
    assert parse_date_time(f"{clock}{sign}{total // 60:02}{total % 60:02}") == expected
    assert parse_date_time(clock, timedelta(minutes=minutes)) == expected


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)),
        ("202402", datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("202412", datetime(2024, 12, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)),
        ("20240229", datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("2024022910", datetime(2024, 2, 29, 10, tzinfo=UTC), datetime(2024, 2, 29, 11, tzinfo=UTC)),
        ("2024-0500", datetime(2024, 1, 1, 5, tzinfo=UTC), datetime(2025, 1, 1, 5, tzinfo=UTC)),
    ],
)
def test_a_date_time_of_less_precision_stands_for_its_whole_interval(
    text: str, first: datetime, last: datetime
) -> None:
    assert parse_date_time(text) == Interval(instant(first), instant(last) - 1)


@pytest.mark.parametrize(
    "text", ["", "202", "20241", "20240230", "2024010125", "2024+9900", "20240101.10", "9999999"]
)
def test_what_is_no_date_time_is_none(text: str) -> None:
    assert parse_date_time(text) is None


@given(st.text())
def test_nothing_makes_them_raise(text: str) -> None:
    parse_date(text)
    parse_time(text)
    parse_date_time(text)
    parse_offset(text)
