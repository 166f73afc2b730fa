"""Cells for spreadsheets: none is read as a formula, however the file is opened."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.reporting.exports import csv_row, harmless

FORMULA = re.compile(r"[\s\ufeff\0]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20 \t\r\n;,'\"a\ufeff\u3000"


@pytest.mark.parametrize("sign", "=+-@\uff1d\uff0b\uff0d\uff20")
@pytest.mark.parametrize("before", ["", " ", "\n", "\t", "\r\n", "a;", "a; ", "x\n", "\u3000", "\ufeff", "a;b\t"])
def test_no_cell_begins_like_a_formula(sign, before):
    """Nor behind blanks and line ends, in full width, or behind the list separators of other countries."""
    cell = harmless(f"{before}{sign}SUM(1)")
    assert not any(FORMULA.match(part) for part in re.split(r"[;\t\r\n]", cell))


@pytest.mark.parametrize(
    "text", ["550 5.1.1 no such user; try kim@example.org", "a-b", "x = y", "1;2", "", "mail+tag@x.org"]
)
def test_other_cells_stay_as_they_are(text):
    """An apostrophe is added only where it is needed."""
    assert harmless(text) == text


@given(st.lists(st.text(SIGNS), min_size=1, max_size=5))
def test_a_row_is_harmless_with_any_separator(cells):
    """With any list separator, and any treatment of quotes."""
    row = csv_row(cells)
    for delimiter in ",;\t":
        for record in csv.reader(io.StringIO(row, newline=""), delimiter=delimiter):
            assert not any(FORMULA.match(cell) for cell in record)
