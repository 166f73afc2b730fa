"""Reads the tables of the report page, and prints them on a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import urljoin

from demo.browser import Browser, Page
from demo.checks import Reported

WIDTH = 100
"""Columns of the printed report."""

REASON = "What the server said, or what happened"
"""The heading of a column of the report."""

Table = list[list[str]]


def read_report(page: Page) -> Reported:
    """Read the page's two tables: numbers by state, and invitations that were not accepted. Raises `BrowsingError`."""
    states = _table(page, "State", "Number")
    refusals = next(_tables(page, "Recipient", REASON), [])
    return Reported(
        numbers={row[0]: _number(row[1]) for row in states},
        refusals={row[0]: row[2] for row in refusals},
    )


def _table(page: Page, *headings: str) -> Table:
    table = next(_tables(page, *headings), None)
    if table is None:
        raise page.problem(f"a table with the columns {', '.join(headings)} is missing")
    return table


def _tables(page: Page, *headings: str) -> Iterator[Table]:
    for table in page.tables():
        if table and set(headings) <= set(table[0]):
            yield table[1:]


def _number(cell: str) -> int | None:
    digits = cell.replace(",", "").replace("\u202f", "")
    return int(digits) if digits.isdecimal() else None


def participant_pages(browser: Browser, page: Page) -> Iterator[tuple[str, str]]:
    """Yield each participant's address and the address of their page; `page` is the first page of the list."""
    while True:
        for row in page.root.find("tr"):
            cells, links = [cell.text for cell in row.find("td")], list(row.find("a"))
            if cells and links:
                yield cells[1], urljoin(page.url, links[0].attributes["href"])
        following = [node for node in page.root.find("a") if node.attributes.get("rel") == "next"]
        if not following:
            return
        page = browser.open(urljoin(page.url, following[0].attributes["href"]))


def report_table(reported: Reported) -> str:
    """Return the report for a terminal."""
    numbers = [(state, "not known" if number is None else str(number)) for state, number in reported.numbers.items()]
    refusals = [*reported.refusals.items()]
    return "\n\n".join(
        [
            drawn(("State", "Number"), numbers),
            drawn(("Not accepted", REASON), refusals),
        ]
    )


def drawn(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of two columns; the second one is wrapped to the width of the terminal."""
    first = max(columns_of(row[0]) for row in [heading, *rows])
    second = min(WIDTH - first - 2, max(columns_of(row[1]) for row in [heading, *rows]))
    lines = [line for row in rows for line in _lines(row, first, second)]
    return "\n".join([*_lines(heading, first, second), f"{'─' * first}  {'─' * second}", *lines])


def _lines(row: Sequence[str], first: int, second: int) -> Iterator[str]:
    for number, part in enumerate(textwrap.wrap(row[1], second) or [""]):
        yield f"{_padded('' if number else row[0], first)}  {part}".rstrip()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns_of(text))


def columns_of(text: str) -> int:
    """Return a text's width in terminal columns: two for wide letters, none for combining marks."""
    return sum(_WIDTHS.get(unicodedata.east_asian_width(c), 1) for c in text if not unicodedata.combining(c))


_WIDTHS = {"W": 2, "F": 2}
