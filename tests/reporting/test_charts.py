"""Charts: they contain all attempts, small numbers stay visible, and hours are in the tenant's time zone."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask_babel import force_locale
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, insert
from sqlalchemy.orm import Session

from own_smtp.i18n import ensure_babel
from own_smtp.reporting import hourly_stats
from own_smtp.reporting.chart_texts import code_lines, health_picture, sending_picture
from own_smtp.reporting.charts import (
    HEALTH_DAYS,
    KIND_OF,
    Chart,
    ChartKind,
    by_code,
    health_chart,
    health_since,
    over_time,
    round_up,
)
from own_smtp.reporting.hourly_stats import Figure
from own_smtp.states import State
from own_smtp.storage.models import Base, Batch, HourlyStat, Relay
from tests.web.drafts import add_relay
from tests.web.everything import fill_outbox, tally

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Auckland"]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

figures = st.lists(
    st.builds(
        Figure,
        hour=st.integers(0, 3 * 365 * 24).map(lambda hours: NOON - timedelta(hours=hours)),
        state=st.sampled_from(State),
        code=st.sampled_from([0, 250, 421, 451, 550, 554]),
        number=st.integers(1, 10**6),
    ),
    max_size=30,
)


def count(some: list[Figure]) -> Counter[ChartKind]:
    numbers: Counter[ChartKind] = Counter()
    for figure in some:
        if figure.state in KIND_OF:
            numbers[KIND_OF[figure.state]] += figure.number
    return numbers


def check(chart: Chart) -> None:
    """Each column lies inside the chart and beside the others, and its segments are stacked without gaps."""
    end = 0.0
    for column in chart.columns:
        assert column.x >= end - 0.01
        end = column.x + column.width
        bottom = 100.0
        for part in column.parts:
            assert part.height > 0.9
            assert part.y + part.height == pytest.approx(bottom, abs=0.01)
            bottom = part.y
        assert bottom >= -0.01
        assert {part.kind for part in column.parts} == set(+column.numbers)
    assert end <= 100


@given(figures, st.sampled_from(ZONES))
def test_nothing_is_lost_in_a_picture(some, zone):
    """For any times and zone, the columns contain all attempts, are not too many, and fit."""
    chart = over_time(some, ZoneInfo(zone))
    if not some:
        assert chart is None
        return
    assert chart is not None
    assert chart.totals == count(some)
    assert 12 <= len(chart.columns) <= 63
    check(chart)


@given(figures, st.sampled_from(ZONES))
def test_health_shows_whole_days_of_the_tenants_zone(some, zone):
    """The thirty columns show exactly the figures since the first day's midnight."""
    since = health_since(NOON, ZoneInfo(zone))
    lately = [figure for figure in some if figure.hour >= since]
    chart = health_chart(lately, ZoneInfo(zone), NOON)
    assert len(chart.columns) == HEALTH_DAYS
    assert chart.totals == count(lately)
    heights = [sum(part.height for part in column.parts) for column in chart.columns if column.parts]
    assert heights == pytest.approx([100] * len(heights), abs=0.1)
    check(chart)


def test_one_hour_is_one_column_among_empty_ones():
    """A batch of one minute fills one column and not the whole chart."""
    chart = over_time([Figure(NOON, State.ACCEPTED, 250, 40)], BERLIN)
    assert chart is not None
    assert [column.total for column in chart.columns] == [0] * 11 + [40]
    assert chart.columns[-1].start.hour == 13
    assert (chart.top, chart.by_hour) == (40, True)


def test_the_night_with_two_equal_hours_has_both():
    """In the night of the change, 02:00 occurs twice: two columns."""
    night = [Figure(datetime(2026, 10, 25, hour, tzinfo=UTC), State.ACCEPTED, 250, hour + 1) for hour in (0, 1)]
    chart = over_time(night, BERLIN)
    assert chart is not None
    assert [(column.start.hour, column.total) for column in chart.columns[-2:]] == [(2, 1), (2, 2)]


def test_an_hour_belongs_to_the_day_of_the_tenant():
    """At 23:00 UTC it is the next day in Berlin."""
    late = Figure(datetime(2026, 11, 20, 23, tzinfo=UTC), State.REFUSED, 550, 1)
    chart = health_chart([late], BERLIN, NOON)
    assert [column.start.day for column in chart.columns if column.total] == [21]


def test_a_single_refusal_among_a_million_is_seen():
    """Its segment stays visible; its extra height is taken from the million's."""
    chart = over_time([Figure(NOON, State.ACCEPTED, 250, 10**6 - 1), Figure(NOON, State.REFUSED, 550, 1)], BERLIN)
    assert chart is not None
    accepted, refused = chart.columns[-1].parts
    assert refused.kind == ChartKind.REFUSED
    assert refused.height == 1.5
    assert accepted.height == pytest.approx(98.5)


@given(st.integers(0, 10**8))
def test_a_scale_is_round_and_has_a_whole_half(number):
    """A scale is never too small, and at most twice the value."""
    top = round_up(number)
    assert top >= number
    assert top % 2 == 0
    assert top <= max(2, 2 * number)


@given(figures)
def test_codes_come_most_frequent_first(some):
    """With the numbers of attempts, and a visible bar for each."""
    lines = by_code(some)
    assert sum(number for _code, number, _width in lines) == sum(figure.number for figure in some)
    assert [number for _code, number, _width in lines] == sorted((number for _c, number, _w in lines), reverse=True)
    assert all(0.5 <= width <= 100 for _code, _number, width in lines)


# Texts


@pytest.mark.parametrize(
    ("locale", "marks", "words", "axis"),
    [
        ("en", "Nov 22, 1:00\u202fPM", "2,000 attempts: Accepted 1,995, Refused or given up 5", ["2K", "1K", "0"]),
        (
            "de",
            "22. Nov., 13:00",
            "2.000 Versuche: Angenommen 1.995, Abgelehnt oder aufgegeben 5",
            ["2000", "1000", "0"],
        ),
    ],
)
def test_a_picture_has_its_words_in_the_readers_language(locale, marks, words, axis):
    """Times are in the tenant's zone, numbers in the reader's format."""
    app = Flask("words")
    ensure_babel(app)
    some = [Figure(NOON, State.ACCEPTED, 250, 1995), Figure(NOON, State.REFUSED, 550, 5)]
    with app.app_context(), force_locale(locale):
        picture = sending_picture(some, "Europe/Berlin")
        lately = health_picture(some, "Europe/Berlin", NOON)
    assert picture is not None
    assert (picture.marks[-1], picture.summary, picture.axis) == (marks, words, axis)
    assert lately.bars[-1].share.replace("\xa0", "").replace(",", ".") == "99.7%"
    assert lately.any


def test_an_unknown_code_has_the_meaning_of_its_class():
    """A code that few servers use has the text of its class."""
    app = Flask("words")
    ensure_babel(app)
    with app.app_context():
        lines = code_lines([Figure(NOON, State.REFUSED, code, 1) for code in (0, 299, 471, 599, 900)])
    assert [(line.code, line.meaning) for line in lines] == [
        ("none", "No reply: the connection failed or was lost."),
        ("299", "Accepted."),
        ("471", "Not now; it is tried again."),
        ("599", "Refused for good."),
        ("900", ""),
    ]


# On each database, and on the pages


def test_figures_are_of_one_batch_project_or_relay(migrated):
    """Sums over batches, oldest hour first; without other tenants, other relays or hours before `since`."""
    with Session(migrated) as session:
        for relay_id in (1, 2):
            values = {
                "tenant_id": "acme",
                "label": "A",
                "host": "a.example",
                "port": 587,
                "sender_address": "a@a.example",
            }
            session.execute(insert(Relay).values(id=relay_id, **values))
        owners = [("acme", "p1", 1), ("acme", "p1", 2), ("acme", "p2", 1), ("evil", "p1", 1)]
        for number, (tenant_id, project_id, relay_id) in enumerate(owners, start=1):
            named = {"tenant_id": tenant_id, "project_id": project_id, "relay_id": relay_id}
            session.execute(insert(Batch).values(id=number, kind="x", message_key="k", message_domain="d", **named))
            for hour in (0, 1):
                kept = {"hour": NOON + timedelta(hours=hour), "state": State.ACCEPTED, "code": 250}
                session.execute(insert(HourlyStat).values(relay_id=relay_id, batch_id=number, count=10**number, **kept))
        session.commit()
        read = lambda some: [(figure.hour.hour, figure.number) for figure in some]  # noqa: E731 -- read four times
        assert read(hourly_stats.stats_of_batch(session, 2)) == [(12, 100), (13, 100)]
        assert read(hourly_stats.stats_of_project(session, "acme", "p1")) == [(12, 110), (13, 110)]
        assert read(hourly_stats.of_relay(session, 2, NOON + timedelta(hours=1))) == [(13, 100)]
        assert read(hourly_stats.stats_of_project(session, "acme", "p9")) == []


def test_pages_show_the_pictures_with_their_tables(web, thin, db_session):
    """Report, batch and server page have charts without scripts, inline styles or other hosts; no chart before the
    first attempt.
    """
    relay = add_relay(db_session, thin, active=True)
    batch = fill_outbox(db_session, relay)
    addresses = ["projects/p1/report", f"projects/p1/batches/{batch.id}", f"servers/{relay.id}"]
    pages = [web.get(f"/own-smtp/{address}").text for address in addresses]
    assert not any("own-smtp-columns" in page for page in pages)
    assert "No invitations were tried through this server in the last 30 days." in pages[2]
    tally(db_session, batch, datetime.now(UTC).replace(minute=0, second=0, microsecond=0), (State.REFUSED, 550, 1234))
    db_session.commit()
    for page in (web.get(f"/own-smtp/{address}").text for address in addresses):
        assert 'role="img"' in page
        assert page.count("1,234") > 2
        assert " style=" not in page
        assert "http://" not in page.replace("http://localhost", "")


def test_figures_are_found_by_index(tmp_path):
    """However many batches there are, the figures of a batch, a project and a relay's last days are found by index."""
    engine = create_engine(f"sqlite:///{tmp_path / 'plans.sqlite3'}")
    Base.metadata.create_all(engine)
    plans: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def explain(connection, cursor, statement, parameters, _context, _many):
        rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.append(" / ".join(row[3] for row in rows))

    with Session(engine) as session:
        hourly_stats.stats_of_batch(session, 1)
        hourly_stats.stats_of_project(session, "acme", "p1")
        hourly_stats.of_relay(session, 1, NOON)
    engine.dispose()
    assert len(plans) == 3
    assert not [plan for plan in plans if "SCAN" in plan]
    assert "relay_id=? AND hour>?" in plans[2]
