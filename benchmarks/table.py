"""Results of the benchmarks, and their Markdown table."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
COLUMNS = ("", "What", "Ours", "Peer", "Ratio", "Bar", "Met")
_COMPARISONS = {">=": operator.ge, "<=": operator.le}
TIMES = "\N{MULTIPLICATION SIGN}"
_SIGNS = {">=": "≥", "<=": "≤"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    `bar` is `>= number` or `<= number`, and empty for a line that only informs. It is compared with `ratio`, or with
    `measured`, if that is given: then the bar has a unit behind its number. If both are `None`, nothing could be
    measured.
    """

    id: str
    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    bar: str = ""
    measured: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is met; `None` without a bar or a figure."""
        value = self.ratio if self.measured is None else self.measured
        if not self.bar or value is None:
            return None
        sign, number = self.bar.split()[:2]
        return bool(_COMPARISONS[sign](value, float(number)))

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the texts of its columns."""
        ratio = "" if self.ratio is None else f"{in_short(self.ratio)} {TIMES}"
        met = {True: "yes", False: "**no**", None: "not measured" if self.bar else ""}[self.is_met]
        return (self.id, self.what, self.ours, self.peer, ratio, self._printed_bar, met)

    @property
    def _printed_bar(self) -> str:
        if not self.bar:
            return ""
        sign, _, rest = self.bar.partition(" ")
        return f"{_SIGNS[sign]} {rest}" + (f" {TIMES}" if " " not in rest else "")


def in_short(number: float) -> str:
    """Format a figure with three significant digits, and thousands with commas."""
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def from_mapping(row: dict[str, Any]) -> Row:
    """Return the row with these fields."""
    return Row(**row)


def markdown(rows: Iterable[Row]) -> str:
    """Return the table."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def write_between(path: Path, text: str) -> None:
    """Replace the text between the two markers in a file. Raises `ValueError` when they are missing."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN} and {END} to put the table between.")
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", encoding="utf-8")


def missed(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that do not meet their bar."""
    return [row for row in rows if row.is_met is False]
