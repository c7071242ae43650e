"""Dates and times as peers write them (PS3.5 6.2: DA, TM, DT)."""

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

MICROSECONDS_PER_SECOND: Final = 1_000_000
MICROSECONDS_PER_DAY: Final = 86_400 * MICROSECONDS_PER_SECOND

_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})|(\d{4})\.(\d{2})\.(\d{2})", re.ASCII)
_TIME = re.compile(
    r"(?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:\.(?P<fraction>\d{1,6}))?)?)?", re.ASCII
)
_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(?:(?P<month>\d{2})(?:(?P<day>\d{2})(?P<time>[\d.]*))?)?(?P<offset>[+-]\d{4})?", re.ASCII
)
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)

_MAX_OFFSET: Final = timedelta(hours=14)


@dataclass(frozen=True, slots=True)
class Interval:
    """The microseconds that a value of limited precision stands for, both ends included."""

    start: int
    end: int


def parse_date(text: str) -> str | None:
    """Return the DA value `text` as `YYYYMMDD`, or None if it is no date of the calendar.

    ACR-NEMA's `YYYY.MM.DD` is accepted (PS3.5 6.2, note to DA).
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    digits = "".join(group for group in match.groups() if group is not None)
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
    return digits


def parse_time(text: str) -> Interval | None:
    """Return the microseconds of the day that the TM value `text` stands for, or None if it is no time.

    `10` stands for all of 10:00:00.000000 to 10:59:59.999999 (PS3.4 C.2.2.2.5). ACR-NEMA's `HH:MM:SS` is
    accepted (PS3.5 6.2, note to TM). A leap second, 60, counts as the last microsecond of its minute.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    second, fraction = int(match["second"] or 0), match["fraction"] or ""
    if hour > 23 or minute > 59 or second > 60:  # noqa: PLR2004 - the clock's own limits
        return None
    minute_start = (hour * 60 + minute) * 60 * MICROSECONDS_PER_SECOND
    if second == 60:  # noqa: PLR2004 - a leap second, legal by PS3.5 6.2
        last = minute_start + 60 * MICROSECONDS_PER_SECOND - 1
        return Interval(last, last)
    start = minute_start + second * MICROSECONDS_PER_SECOND + int(fraction.ljust(6, "0"))
    return Interval(start, start + _time_width(match["minute"], match["second"], fraction) - 1)


def _time_width(minute: str | None, second: str | None, fraction: str) -> int:
    if minute is None:
        return 3600 * MICROSECONDS_PER_SECOND
    if second is None:
        return 60 * MICROSECONDS_PER_SECOND
    return int(10 ** (6 - len(fraction)))


def parse_offset(text: str) -> timedelta | None:
    """Return the offset from UTC that `text` names as `&ZZXX`, or None (PS3.5 6.2, DT; PS3.3 C.12.1.1.8)."""
    match = _OFFSET.fullmatch(text)
    if match is None or int(match[3]) > 59:  # noqa: PLR2004 - minutes of an hour
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if offset > _MAX_OFFSET:
        return None
    return -offset if match[1] == "-" else offset


def parse_date_time(text: str, default_offset: timedelta | None = None) -> Interval | None:
    """Return the microseconds since 0001-01-01 that the DT value `text` stands for, or None if it is none.

    They count in UTC when the value carries an offset, or when `default_offset` (Timezone Offset From UTC) is
    known; else on the sender's local clock. Lower precision stands for the whole interval (PS3.4 C.2.2.2.5).
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    offset = default_offset
    if match["offset"] is not None:
        offset = parse_offset(match["offset"])
        if offset is None:
            return None
    local = _local_interval(match)
    if local is None:
        return None
    shift = 0 if offset is None else _microseconds(offset)
    return Interval(local.start - shift, local.end - shift)


def _local_interval(match: re.Match[str]) -> Interval | None:
    year, month, day = int(match["year"]), int(match["month"] or 1), int(match["day"] or 1)
    try:
        first = date(year, month, day)
    except ValueError:
        return None
    if match["time"]:
        clock = parse_time(match["time"])
        if clock is None:
            return None
        midnight = _day_start(first)
        return Interval(midnight + clock.start, midnight + clock.end)
    return Interval(_day_start(first), _period_end(match, first))


def _period_end(match: re.Match[str], first: date) -> int:
    """Return the last microsecond of the day, month or year that `first` opens."""
    if match["day"]:
        days = 1
    elif match["month"]:
        days = calendar.monthrange(first.year, first.month)[1]
    else:
        days = 366 if calendar.isleap(first.year) else 365
    return _day_start(first) + days * MICROSECONDS_PER_DAY - 1


def _day_start(day: date) -> int:
    return (day.toordinal() - 1) * MICROSECONDS_PER_DAY


def _microseconds(offset: timedelta) -> int:
    return offset // timedelta(microseconds=1)
