"""Charts with their texts: the numbers of `own_smtp.reporting.charts` as a picture and as a table in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from babel.dates import format_skeleton
from babel.numbers import format_compact_decimal
from flask_babel import format_date, format_decimal, format_percent, get_locale
from flask_babel import format_time as format_hour

from own_smtp.i18n import Text, format_time, gettext, ngettext, zone_of
from own_smtp.i18n import lazy_gettext as _
from own_smtp.reporting.charts import HEALTH_DAYS, Chart, ChartKind, Column, Part, by_code, health_chart, over_time
from own_smtp.reporting.hourly_stats import Figure

KINDS: dict[ChartKind, Text] = {
    ChartKind.ACCEPTED: _("Accepted"),
    ChartKind.PUT_OFF: _("Put off"),
    ChartKind.REFUSED: _("Refused or given up"),
    ChartKind.UNKNOWN: _("Unknown"),
}

CODES: dict[int, Text] = {
    0: _("No reply: the connection failed or was lost."),
    250: _("The server took the message."),
    421: _("The server closes the connection or has too much to do."),
    450: _("The mailbox cannot be used for now, or a new sender is made to wait."),
    451: _("The server cannot take the message now, or makes a new sender wait."),
    452: _("The server has no room, or takes no more at a time."),
    550: _("The mailbox does not exist, or the server does not want the message."),
    552: _("The mailbox is full, or the message too large."),
    553: _("The address is not allowed."),
    554: _("The server refused the message as a whole."),
}

CLASSES: dict[int, Text] = {
    2: _("Accepted."),
    4: _("Not now; it is tried again."),
    5: _("Refused for good."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One column of a chart, and one line of its table."""

    label: str
    x: float
    width: float
    parts: Sequence[Part]
    numbers: Sequence[int]
    """One number for each kind of the chart."""
    share: str
    """The share of accepted attempts; empty when there were no attempts."""
    words: str
    """The whole column as a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart with columns over time."""

    key: str
    """Prefix of the element ids in the page."""
    title: str
    summary: str
    kinds: Sequence[tuple[ChartKind, Text, int]]
    """The kinds that occur, with name and number."""
    axis: Sequence[str]
    """The scale, from top to bottom."""
    marks: Sequence[str]
    """The labels below the columns, from left to right."""
    bars: Sequence[Bar]

    @property
    def any(self) -> bool:
        """Whether there is anything to show."""
        return any(bar.parts for bar in self.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeLine:
    """How often a server gave one reply code."""

    code: str
    count: int
    width: float
    meaning: str


def sending_picture(figures: Sequence[Figure], timezone: str) -> Picture | None:
    """Return a chart of accepted and refused attempts over time; `None` when there were no attempts."""
    chart = over_time(figures, zone_of(timezone))
    if chart is None:
        return None
    axis = [format_compact_decimal(number, locale=get_locale()) for number in (chart.top, chart.top // 2, 0)]
    return _picture("sending", gettext("Attempts over time"), chart, axis, timezone)


def health_picture(figures: Iterable[Figure], timezone: str, now: datetime) -> Picture:
    """Return a chart of the accepted share of each day's attempts, over the last `HEALTH_DAYS` days."""
    chart = health_chart(figures, zone_of(timezone), now)
    axis = [format_percent(share) for share in (1, 0.5, 0)]
    return _picture("health", gettext("The last %(days)s days", days=HEALTH_DAYS), chart, axis, timezone)


def code_lines(figures: Iterable[Figure]) -> list[CodeLine]:
    """Return how often each reply code occurred, the most frequent first."""
    return [
        CodeLine(
            code=str(code) if code else gettext("none"),
            count=count,
            width=width,
            meaning=str(CODES.get(code) or CLASSES.get(code // 100) or ""),
        )
        for code, count, width in by_code(figures)
    ]


def _picture(key: str, title: str, chart: Chart, axis: Sequence[str], timezone: str) -> Picture:
    totals = chart.totals
    kinds = [kind for kind in ChartKind if totals[kind] or kind is ChartKind.ACCEPTED]
    return Picture(
        key=key,
        title=title,
        summary=_sentence(totals.total(), [(kind, totals[kind]) for kind in kinds]),
        kinds=[(kind, KINDS[kind], totals[kind]) for kind in kinds],
        axis=axis,
        marks=[_short(column, chart) for column in chart.marks],
        bars=[_bar(column, chart, kinds, timezone) for column in chart.columns],
    )


def _bar(column: Column, chart: Chart, kinds: Sequence[ChartKind], timezone: str) -> Bar:
    numbers = [(kind, column.numbers[kind]) for kind in kinds]
    label = _long(column, chart, timezone)
    return Bar(
        label=label,
        x=column.x,
        width=column.width,
        parts=column.parts,
        numbers=[number for _kind, number in numbers],
        share="" if column.share is None else _percent(column.share),
        words=f"{label}: {_sentence(column.total, numbers)}",
    )


def _percent(share: float) -> str:
    """Round down: a day with a single refusal must not show 100%."""
    return str(format_percent(int(share * 1000) / 1000, "#,##0.#%"))


def _sentence(total: int, numbers: Iterable[tuple[ChartKind, int]]) -> str:
    parts = [f"{KINDS[kind]} {format_decimal(number)}" for kind, number in numbers if number]
    attempts = ngettext("%(num)s attempt", "%(num)s attempts", total)
    return f"{attempts}: {', '.join(parts)}" if parts else attempts


def _long(column: Column, chart: Chart, timezone: str) -> str:
    if chart.by_hour:
        return format_time(column.start, timezone)
    first = column.start.date()
    if chart.days == 1:
        return str(format_date(first))
    return f"{format_date(first)} \N{EN DASH} {format_date(first + timedelta(days=chart.days - 1))}"


def _short(column: Column, chart: Chart) -> str:
    day = format_skeleton("MMMd", column.start, locale=get_locale())
    return f"{day}, {format_hour(column.start, 'short', rebase=False)}" if chart.by_hour else day
