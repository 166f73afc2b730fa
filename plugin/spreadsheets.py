"""Rows of CSV for spreadsheets, safe against cells that are taken for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

RISKY = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula."""

BEGINNING = "\N{BYTE ORDER MARK}"
"""Without it Excel takes the file for another encoding."""


def csv_row(cells: Iterable[object]) -> str:
    """Return one row with its line end. `None` is an empty cell."""
    texts = ["" if cell is None else str(cell) for cell in cells]
    row = io.StringIO()
    csv.writer(row).writerow(f"'{text}" if text.startswith(RISKY) else text for text in texts)
    return row.getvalue()
