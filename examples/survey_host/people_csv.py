"""Reads participants from a CSV file, as other programs export them. No database access."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from email_validator import EmailNotValidError, validate_email

from survey_host.models import LANGUAGES

MAX_ROWS = 50_000
DELIMITERS = {";": "semicolon", ",": "comma", "\t": "tab"}

_KNOWN = {
    "first_name": {"firstname", "vorname", "givenname"},
    "last_name": {"lastname", "nachname", "surname", "familyname", "name"},
    "email": {"email", "emailaddress", "mail", "emailadresse"},
    "language": {"language", "lang", "sprache"},
    "token": {"token", "code"},
}
_ATTRIBUTE = "attribute:"
_LIMITS = {"first_name": 120, "last_name": 120, "email": 254}
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EXCEL = re.compile(r'\s*"?sep=(.)"?[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)
"""The line that tells Excel the delimiter. It is no heading."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class FileError(ValueError):
    """The file is unusable. The text says why."""


class RowError(ValueError):
    """One row is unusable. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A valid row."""

    line: int
    first_name: str = ""
    last_name: str = ""
    email: str
    language: str
    token: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """An invalid row."""

    line: int
    """Its first line, counted from 1 as in an editor."""
    content: str
    reason: str


@dataclass(slots=True)
class Reading:
    """The content of a file."""

    delimiter: str
    good: list[Person] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


@dataclass(slots=True)
class Taken:
    """Addresses (ignoring case) and tokens in use; those of earlier rows with their line."""

    emails: dict[str, str]
    tokens: dict[str, str]

    @classmethod
    def by(cls, emails: Collection[str], tokens: Collection[str]) -> Taken:
        """Start with those of existing participants."""
        return cls({email.casefold(): "a participant" for email in emails}, dict.fromkeys(tokens, "a participant"))

    def add(self, person: Person) -> None:
        """Add a row. Raises `RowError` when its address or token is in use."""
        for kind, key, used in (
            ("This address", person.email.casefold(), self.emails),
            ("This token", person.token, self.tokens),
        ):
            if key is not None and key in used:
                raise RowError(f"{kind} is used by {used[key]} already.")
        self.emails[person.email.casefold()] = f"line {person.line}"
        if person.token is not None:
            self.tokens[person.token] = f"line {person.line}"


def read(data: bytes, taken: Taken, language: str) -> Reading:
    """Read a CSV file in UTF-8, with or without a byte order mark, separated by `;`, `,` or tabs.

    The first row names the columns, in English or German; columns with other names become attributes. A line `sep=;`
    above it, as for Excel, sets the delimiter. `language` is for rows without one. Raises `FileError` when the whole
    file is unusable.
    """
    text = _decode(data)
    said = _EXCEL.match(text)
    delimiter = _said_delimiter(said[1]) if said else _delimiter(text)
    rows = _rows(text[said.end() :] if said else text, delimiter, first=2 if said else 1)
    columns = _columns(next(rows, (1, []))[1])
    reading = Reading(DELIMITERS[delimiter])
    for line, cells in rows:
        if any(cell.strip() for cell in cells):
            try:
                person = _person(line, cells, columns, language)
                taken.add(person)
            except RowError as error:
                reading.bad.append(BadRow(line, "; ".join(cells)[:200], str(error)))
            else:
                reading.good.append(person)
    if not reading.good and not reading.bad:
        raise FileError("The file has no rows below its heading.")
    return reading


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(
            f"The file is not in UTF-8: line {line} has a byte that does not belong there. "
            "Save it again as “CSV UTF-8”."
        ) from error
    if not text.strip():
        raise FileError("The file is empty.")
    return text


def _said_delimiter(sign: str) -> str:
    if sign not in DELIMITERS:
        raise FileError(f"The first line says that “{sign}” separates the cells. Use a semicolon, a comma or tabs.")
    return sign


def _delimiter(text: str) -> str:
    """Return the delimiter that occurs most often in the heading, outside quotes."""
    heading = re.sub(r'"[^"]*"', "", text.lstrip().splitlines()[0])
    return max(DELIMITERS, key=heading.count)


def _rows(text: str, delimiter: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its first line; a quoted cell may contain line ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = first
    try:
        for number, cells in enumerate(reader):
            if number > MAX_ROWS:
                raise FileError(f"The file has more than {MAX_ROWS:,} rows. Split it.")
            yield line, cells
            line = reader.line_num + first
    except csv.Error as error:
        # The reader's own error speaks of delimiters and names no cause.
        reason = "a quote is never closed" if "end of data" in str(error) else "something follows a closing quote"
        raise FileError(
            f"The row that begins in line {line} cannot be read: {reason}. Addresses with quotes, such as "
            '“"kim lee"@example.org”, cannot be imported; else look for a stray quote.'
        ) from error


def _columns(heading: Sequence[str]) -> list[str]:
    """Return the meaning of each column: a field, or `attribute:` and its heading."""
    columns = [_meaning(cell.strip()) for cell in heading]
    doubles = {column for column, number in Counter(columns).items() if column and number > 1}
    if doubles:
        raise FileError(f"Two columns mean the same: {', '.join(sorted(doubles))}.")
    if "email" not in columns:
        raise FileError(
            "No column is called “email”. The first row must name the columns: "
            "firstname, lastname, email, language, token; others become attributes."
        )
    return columns


def _meaning(heading: str) -> str:
    plain = re.sub(r"[\W_]+", "", heading.lower())
    for name, words in _KNOWN.items():
        if plain in words:
            return name
    return f"{_ATTRIBUTE}{heading[:60]}" if heading else ""


def _person(line: int, cells: list[str], columns: list[str], language: str) -> Person:
    if len(cells) > len(columns):
        raise RowError(f"It has {len(cells)} cells, the heading has {len(columns)}.")
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if column}
    _check_cells(row)
    return Person(
        line=line,
        first_name=row.get("first_name", ""),
        last_name=row.get("last_name", ""),
        email=_email(row.get("email", "")),
        language=_language(row.get("language", ""), language),
        token=_read_token(row.get("token", "")),
        attributes={key.removeprefix(_ATTRIBUTE): cell for key, cell in row.items() if key.startswith(_ATTRIBUTE)},
    )


def _check_cells(row: Mapping[str, str]) -> None:
    for column, cell in row.items():
        name = column.removeprefix(_ATTRIBUTE).replace("_", " ")
        if _CONTROL.search(cell):
            raise RowError(f"The {name} has a line end or another control character in it.")
        if len(cell) > _LIMITS.get(column, 500):
            raise RowError(f"The {name} is longer than {_LIMITS.get(column, 500)} characters.")


def _email(cell: str) -> str:
    if not cell:
        raise RowError("The e-mail address is missing.")
    try:
        return validate_email(cell, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise RowError(f"“{cell}” is not an e-mail address: {error}") from error


def _language(cell: str, default: str) -> str:
    """Return a language of the platform; `de-AT` counts as `de`."""
    code = re.split(r"[-_]", cell.lower())[0] or default
    if code not in LANGUAGES:
        raise RowError(f"The language “{cell}” is not one of {', '.join(LANGUAGES)}.")
    return code


def _read_token(cell: str) -> str | None:
    if cell and not _TOKEN.fullmatch(cell):
        raise RowError("The token may have letters, digits, “-” and “_” only, and 64 of them.")
    return cell or None
