"""The shared parts of the benchmarks: the table, the far network, the slow disk. Nothing here is timed."""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.clock import worst_window
from benchmarks.latency import Proxy
from benchmarks.measure import NotInstalledError, Plan, Rounds
from benchmarks.paces import FAST, MIDDLE, Run
from benchmarks.stage import Stage
from benchmarks.table import BEGIN, END, Row, in_short, markdown, missed, write_between

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"


def test_every_bar_has_its_benchmark() -> None:
    """All of P1 to P11, and P18, can be run by name."""
    assert [*BENCHMARKS] == [f"P{number}" for number in (*range(1, 12), 18)]


@pytest.mark.parametrize(
    ("bar", "ratio", "measured", "is_met"),
    [
        (">= 1.0", 1.0, None, True),
        (">= 1.0", 0.99, None, False),
        ("<= 1.1 round trips", 0.3, 1.2, False),
        ("<= 90 MiB", 1.5, 89.0, True),
        (">= 3", None, None, None),
        ("", 5.0, None, None),
    ],
)
def test_a_bar_is_held_against_what_was_measured_else_against_the_ratio(
    bar: str, ratio: float | None, measured: float | None, is_met: bool | None
) -> None:
    """A line meets its bar, misses it, or has no figure to compare."""
    row = Row(id="P0", what="", ours="", bar=bar, ratio=ratio, measured=measured)
    assert row.is_met is is_met
    assert missed([row]) == ([row] if is_met is False else [])


def test_the_table_shows_what_is_missing_and_what_is_missed() -> None:
    """The table shows a missing peer and a missed bar."""
    rows = [
        Row(id="P1", what="fast", ours="10 msg/s", peer="5 msg/s", ratio=2.0, bar=">= 3"),
        Row(id="P4", what="a | b", ours="10 msg/s", peer="not installed: php-cli", bar=">= 3"),
    ]
    assert markdown(rows).splitlines()[2:] == [
        "| P1 | fast | 10 msg/s | 5 msg/s | 2.00 \N{MULTIPLICATION SIGN} | ≥ 3 \N{MULTIPLICATION SIGN} | **no** |",
        "| P4 | a \\| b | 10 msg/s | not installed: php-cli |  | ≥ 3 \N{MULTIPLICATION SIGN} | not measured |",
    ]


@pytest.mark.parametrize(("number", "text"), [(0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (0.0, "0.00")])
def test_figures_are_short(number: float, text: str) -> None:
    """Three significant digits: a benchmark is no more exact."""
    assert in_short(number) == text


def test_a_table_replaces_the_one_before_it(tmp_path: Path) -> None:
    """Writing a table twice leaves the second one, and everything around it unchanged."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n", encoding="utf-8")
    write_between(page, "first")
    write_between(page, "second")
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\nsecond\n{END}\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    """A page without markers is not overwritten."""
    page = tmp_path / "page.md"
    page.write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        write_between(page, "table")
    assert page.read_text(encoding="utf-8") == "mine"


def test_the_page_about_speed_has_a_place_for_the_table() -> None:
    """`python -m benchmarks --write docs/performance.md` finds its markers."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)


def test_what_is_compared_takes_turns() -> None:
    """Ours and a peer run alternately, and the ratio is the median of the rounds."""
    order: list[str] = []
    rates = {"ours": iter([10.0, 40.0, 30.0]), "peer": iter([5.0, 10.0, 10.0])}

    def measure(name: str) -> dict[str, float]:
        order.append(name)
        return {"rate": next(rates[name])}

    rounds = Rounds().run(3, {"ours": lambda: measure("ours"), "peer": lambda: measure("peer")})
    assert order == ["ours", "peer"] * 3
    assert rounds.ratio("ours", "peer") == 3.0
    assert rounds.rate_of("ours") == "30 msg/s"


def test_a_peer_that_is_missing_leaves_a_word_and_no_figure() -> None:
    """A peer that is not installed does not stop the measurement of the others."""

    def missing() -> dict[str, float]:
        raise NotInstalledError("php-cli")

    rounds = Rounds().run(2, {"ours": lambda: {"rate": 1.0}, "peer": missing})
    assert rounds.rate_of("peer") == "not installed: php-cli"
    assert rounds.ratio("ours", "peer") is None


def test_a_quick_plan_does_less() -> None:
    """`--quick` chooses the small sizes."""
    assert (Plan(is_quick=True).pick(20_000, 2), Plan(is_quick=False).pick(20_000, 2)) == (2, 20_000)


@pytest.mark.parametrize(
    ("times", "most"), [([], 0), ([1.0], 1), ([0.0, 0.5, 1.0], 2), ([0.0, 0.9, 0.95, 1.85], 3), ([2.0, 0.0, 1.0], 1)]
)
def test_the_fullest_window_is_found(times: list[float], most: int) -> None:
    """Two messages that are a whole period apart are not in one window."""
    assert worst_window(times) == most


def test_a_pace_in_bursts_is_counted_by_whole_windows() -> None:
    """Ten messages at the beginning of each second are ten a second, and never exceed the limit."""
    run = Run(MIDDLE, [second + place / 1000 for second in range(4) for place in range(10)])
    assert (run.rate, run.fullest) == (10.0, 1.0)


def test_a_limit_that_is_passed_shows() -> None:
    """One message too many within a second exceeds the limit."""
    assert Run(FAST, [place / 1000 for place in range(101)]).fullest == 1.01


def test_a_stage_survives_its_way_to_another_process() -> None:
    """A worker joins the same platform as the process that described it."""
    stage = Stage.on_sqlite(Path("/tmp/somewhere"), window=16)  # noqa: S108 -- nothing is written there
    assert Stage.load(stage.dump()) == stage
    assert json.loads(stage.dump())["settings"] == {"window": 16}


def test_the_far_network_passes_on_everything_in_order() -> None:
    """Data passes the proxy complete, in order, in both directions, including the end of the connection."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async def talk() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = Proxy(server.sockets[0].getsockname()[1], 0.001)
        reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
        for number in range(200):
            writer.write(b"%06d\r\n" % number)
            await writer.drain()
        writer.write_eof()
        heard = await reader.read(-1)
        writer.close()
        await proxy.close()
        server.close()
        return heard

    assert asyncio.run(talk()) == b"".join(b"%06d\r\n" % number for number in range(200))
