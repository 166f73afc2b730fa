"""Charts as geometry: templates turn them into SVG without scripts and without inline styles.

All coordinates are hundredths of the chart's width and height, measured from its upper left corner, so that it scales
from a telephone to a wide screen. Texts stand beside the chart and not in it: their size does not scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from own_smtp.reporting.hourly_stats import Figure
from own_smtp.states import State


class ChartKind(StrEnum):
    """The result of an attempt, as charts show it."""

    ACCEPTED = "accepted"
    PUT_OFF = "put_off"
    """Deferred: refused for now, to be retried."""
    REFUSED = "refused"
    """Refused for good, or out of retries."""
    UNKNOWN = "unknown"


KIND_OF = {
    State.ACCEPTED: ChartKind.ACCEPTED,
    State.QUEUED: ChartKind.PUT_OFF,
    State.REFUSED: ChartKind.REFUSED,
    State.FAILED: ChartKind.REFUSED,
    State.UNKNOWN: ChartKind.UNKNOWN,
}
"""The kind for each state after an attempt. States that no attempt leads to are not charted."""

MOST_HOURS, MOST_COLUMNS, FEWEST_COLUMNS = 48, 62, 12
GAP = 0.15
"""The share of its slot that a column leaves empty."""
LEAST_HEIGHT = 1.5
"""Minimum height: a single refusal among thousands stays visible."""
HEALTH_DAYS = 30


class Part(NamedTuple):
    """One segment of a column."""

    kind: ChartKind
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: an hour, a day or several days."""

    start: datetime
    """The start, in the tenant's time zone."""
    numbers: Counter[ChartKind]
    x: float
    width: float
    parts: Sequence[Part]

    @property
    def total(self) -> int:
        return self.numbers.total()

    @property
    def share(self) -> float | None:
        """The accepted share; `None` when there were no attempts."""
        return self.numbers[ChartKind.ACCEPTED] / self.total if self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Columns side by side, oldest first."""

    columns: Sequence[Column]
    top: int
    """The value at full height: a number of attempts, or 100 for shares."""
    by_hour: bool
    days: int
    """How many days a column covers; 0 where it covers an hour."""

    @property
    def totals(self) -> Counter[ChartKind]:
        """The totals of all columns."""
        return sum((column.numbers for column in self.columns), Counter())

    @property
    def marks(self) -> list[Column]:
        """The columns with a time label: the first, the middle and the last."""
        return [self.columns[0], self.columns[len(self.columns) // 2], self.columns[-1]]


def over_time(figures: Sequence[Figure], zone: ZoneInfo) -> Chart | None:
    """Return the attempts by result over time; `None` when there were none."""
    hours = [figure.hour for figure in figures]
    if not hours:
        return None
    first, last = min(hours), max(hours)
    if last - first < timedelta(hours=MOST_HOURS):
        first = min(first, last - timedelta(hours=FEWEST_COLUMNS - 1))
        count = int((last - first) / timedelta(hours=1)) + 1
        starts = [(first + timedelta(hours=number)).astimezone(zone) for number in range(count)]
        return _chart(starts, _count_by(figures, lambda figure: figure.hour.astimezone(zone)), days=0)
    from_day, to_day = first.astimezone(zone).date(), last.astimezone(zone).date()
    step = next(days for days in (1, 7, 28, 364) if (to_day - from_day).days < days * MOST_COLUMNS or days == 364)
    from_day = min(from_day, to_day - timedelta(days=step * (FEWEST_COLUMNS - 1)))
    return _chart(_days(from_day, to_day, step, zone), _count_by(figures, _day_of(from_day, step, zone)), days=step)


def health_chart(figures: Iterable[Figure], zone: ZoneInfo, now: datetime) -> Chart:
    """Return the shares of each day's attempts by result, over `HEALTH_DAYS` days up to today."""
    today = now.astimezone(zone).date()
    from_day = today - timedelta(days=HEALTH_DAYS - 1)
    numbers = _count_by(figures, _day_of(from_day, 1, zone))
    return _chart(_days(from_day, today, 1, zone), numbers, days=1, as_shares=True)


def health_since(now: datetime, zone: ZoneInfo) -> datetime:
    """Return the start of the period that `health_chart` covers."""
    day = now.astimezone(zone).date() - timedelta(days=HEALTH_DAYS - 1)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def by_code(figures: Iterable[Figure]) -> list[tuple[int, int, float]]:
    """Return reply code, count and the width of its bar, most frequent first."""
    numbers: Counter[int] = Counter()
    for figure in figures:
        numbers[figure.code] += figure.number
    if not numbers:
        return []
    most = max(numbers.values())
    return [(code, count, max(100 * count / most, 0.5)) for code, count in sorted(numbers.items(), key=_most_first)]


def _most_first(item: tuple[int, int]) -> tuple[int, int]:
    code, count = item
    return -count, code


def round_up(number: int) -> int:
    """Return the next round number with a whole half: 2, 4, 6, 8, 10, 20, 30 ... 100, 200 ..."""
    scale = 1
    while number > 10 * scale:
        scale *= 10
    steps = (2, 4, 6, 8, 10) if scale == 1 else (2, 3, 4, 5, 6, 8, 10)
    return next(step * scale for step in steps if step * scale >= number)


def _days(first: date, last: date, step: int, zone: ZoneInfo) -> list[datetime]:
    count = (last - first).days // step + 1
    days = (first + timedelta(days=step * number) for number in range(count))
    return [datetime(day.year, day.month, day.day, tzinfo=zone) for day in days]


def _day_of(first: date, step: int, zone: ZoneInfo) -> Callable[[Figure], datetime]:
    """Return a function that maps an hour's statistics to the start of its column. An hour belongs to the day it begins
    in.
    """

    def day(figure: Figure) -> datetime:
        passed = (figure.hour.astimezone(zone).date() - first).days
        found = first + timedelta(days=passed - passed % step)
        return datetime(found.year, found.month, found.day, tzinfo=zone)

    return day


def _count_by(figures: Iterable[Figure], start: Callable[[Figure], datetime]) -> dict[datetime, Counter[ChartKind]]:
    # Keys in UTC: within one zone Python treats both occurrences of an hour in autumn as equal.
    numbers: dict[datetime, Counter[ChartKind]] = {}
    for figure in figures:
        if figure.state in KIND_OF:
            numbers.setdefault(start(figure).astimezone(UTC), Counter())[KIND_OF[figure.state]] += figure.number
    return numbers


def _chart(
    starts: Sequence[datetime], numbers: dict[datetime, Counter[ChartKind]], *, days: int, as_shares: bool = False
) -> Chart:
    found = [numbers.get(start.astimezone(UTC), Counter()) for start in starts]
    top = 100 if as_shares else round_up(max(each.total() for each in found))
    place = 100 / len(starts)
    columns = [
        Column(
            start=start,
            numbers=each,
            x=round(place * (number + GAP / 2), 3),
            width=round(place * (1 - GAP), 3),
            parts=list(_parts(each, each.total() if as_shares else top)),
        )
        for number, (start, each) in enumerate(zip(starts, found, strict=True))
    ]
    return Chart(columns=columns, top=top, by_hour=not days, days=days)


def _parts(numbers: Counter[ChartKind], full: int) -> Iterator[Part]:
    """Stack segments from the bottom. The extra height of small segments is taken from the tallest."""
    heights = {kind: max(100 * numbers[kind] / full, LEAST_HEIGHT) for kind in ChartKind if numbers[kind]}
    surplus = sum(heights.values()) - 100
    if surplus > 0:
        heights[max(heights, key=lambda kind: heights[kind])] -= surplus
    y = 100.0
    for kind, height in heights.items():
        y -= height
        yield Part(kind, round(y, 3), round(height, 3))
