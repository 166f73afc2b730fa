"""Import of participants: files as other programs export them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from survey_host.people_csv import MAX_ROWS, FileError, Reading, Taken, read
from tests.survey_host_kit import add_people, people, platform, signed_in, text_of
from tests.work import LINEAR, growth

GOOD = "firstname,lastname,email,language,token,department\nÅsa,Öberg,asa@recipient.example,de,t-1,Physics\n"


def reading(text: str | bytes, *emails: str) -> Reading:
    data = text if isinstance(text, bytes) else text.encode()
    return read(data, Taken.by(emails, []), "en")


def reasons(text: str | bytes, *emails: str) -> dict[int, str]:
    """Return the reason by line."""
    return {row.line: row.reason for row in reading(text, *emails).bad}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["without mark", "with mark"])
@pytest.mark.parametrize(("name", "delimiter"), [("comma", ","), ("semicolon", ";"), ("tab", "\t")])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_each_usual_form_is_read(mark: str, name: str, delimiter: str, line_end: str) -> None:
    """UTF-8 with and without byte order mark, three delimiters and three line ends give the same result."""
    found = reading((mark + GOOD.replace(",", delimiter)).replace("\n", line_end))
    (person,) = found.good
    assert found.delimiter == name
    assert (person.first_name, person.last_name, person.email) == ("Åsa", "Öberg", "asa@recipient.example")
    assert (person.language, person.token, person.attributes) == ("de", "t-1", {"department": "Physics"})


def test_german_headings_and_odd_spacing_are_understood() -> None:
    """Columns have English or German names, in any order; cells are trimmed and `de-AT` is German."""
    (person,) = reading("E-Mail ; Vorname; Nachname ;Sprache\n a@r.example ; Jürgen ;Groß; de-AT\n").good
    assert (person.email, person.first_name, person.last_name) == ("a@r.example", "Jürgen", "Groß")
    assert person.language == "de"


def test_a_delimiter_inside_quotes_does_not_count() -> None:
    """A quoted cell may contain delimiters, quotes and more."""
    (person,) = reading('"email","last;;;; name"\n"a@r.example","O""Neill, Jr."\n').good
    assert person.email == "a@r.example"


def test_lines_are_counted_as_an_editor_does() -> None:
    """Blank lines and line ends inside quotes do not shift the number of a bad row."""
    assert list(reasons('email,note\n\na@r.example,"two\nlines"\n\nbad,x\n')) == [3, 6]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",A", "missing"),
        ("no-at-sign,A", "not an e-mail address"),
        ("a@b@r.example,A", "not an e-mail address"),
        ("a@localhost,A", "not an e-mail address"),
        ("a@r.example,A,surplus", "3 cells, the heading has 2"),
        (f"a@r.example,{'x' * 121}", "longer than 120"),
        ("a@r.example,A\x00B", "control character"),
        ('"a@r.example\r\nBcc: b@r.example",A', "control character"),
    ],
)
def test_bad_rows_are_listed_with_their_reason(row: str, reason: str) -> None:
    """An invalid row is reported with line and reason, and the valid row beside it stays valid."""
    found = reading(f"email,firstname\ngood@r.example,G\n{row}\n")
    assert [person.email for person in found.good] == ["good@r.example"]
    assert [bad.line for bad in found.bad] == [3]
    assert reason in found.bad[0].reason


def test_languages_and_tokens_are_checked() -> None:
    """An unknown language and a token with invalid characters are errors; an empty language gets the default."""
    text = "email,language,token\na@r.example,xx,\nb@r.example,,a b\nc@r.example,,\n"
    assert [person.language for person in reading(text).good] == ["en"]
    assert "xx" in reasons(text)[2]
    assert "token" in reasons(text)[3]


def test_duplicates_are_found_in_the_file_and_in_the_survey() -> None:
    """Addresses are compared ignoring case; the reason names the other line."""
    text = "email,token\na@r.example,t\nA@R.example,\nthere@r.example,\nb@r.example,t\n"
    assert reasons(text, "There@r.example") == {
        3: "This address is used by line 2 already.",
        4: "This address is used by a participant already.",
        5: "This token is used by line 2 already.",
    }


def test_a_bad_row_does_not_take_its_token_along() -> None:
    """A row that is rejected for its address does not use up its token."""
    text = "email,token\na@r.example,\na@r.example,t\nb@r.example,t\n"
    assert list(reasons(text)) == [3]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b"email\n", "no rows"),
        (b"firstname,lastname\nA,B\n", "No column is called"),
        (b"email,E-Mail\na@r.example,b@r.example\n", "Two columns mean the same"),
        ("email\nmüller@r.example\n".encode("latin-1"), "not in UTF-8: line 2"),
        ("email\na@r.example\n".encode("utf-16"), "not in UTF-8: line 1"),
        (b'email,firstname\na@r.example,"open\n', "begins in line 2"),
        (b'email,firstname\na@r.example,"x"y\n', "begins in line 2"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff", "not in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    """A file without rows, headings or the right encoding is rejected as a whole, with the line if that is known."""
    with pytest.raises(FileError, match=reason):
        reading(data)


def test_too_many_rows_are_refused() -> None:
    """A file beyond the limit is not imported partly."""
    rows = "".join(f"a{number}@r.example\n" for number in range(MAX_ROWS + 1))
    with pytest.raises(FileError, match="50,000"):
        reading("email\n" + rows)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Any upload results in a reading or a `FileError`."""
    try:
        found = reading(b"email,firstname\n" + data)
    except FileError:
        return
    assert found.good or found.bad


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_every_row_is_good_or_bad(cells: list[str]) -> None:
    """No row with content disappears."""
    row = ",".join('"' + cell.replace('"', '""') + '"' for cell in ["x", *cells])
    found = reading(f"email,firstname\ngood@r.example,G\n{row}\n")
    assert len(found.good) + len(found.bad) == 2


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        yield made


IMPORT = "/surveys/1/participants/import"
MIXED = b"email,firstname\na@r.example,A\nbad,B\nb@r.example,C\n"


def upload(data: bytes) -> dict[str, object]:
    return {"file": (io.BytesIO(data), "people.csv")}


def test_a_good_file_is_imported_at_once(app: Flask) -> None:
    """All rows are imported, each with its own token."""
    visitor = signed_in(app, "manager@north.example")
    assert visitor.post(IMPORT, upload(b"email\na@r.example\nb@r.example\n")).status_code == 302
    found = people(app)
    assert set(found) == {"a@r.example", "b@r.example"}
    assert len({person.token for person in found.values()}) == 2
    assert "2 participants imported." in text_of(visitor.get("/surveys/1/participants"))


def test_bad_rows_hold_everything_back(app: Flask) -> None:
    """Nothing is imported unless asked for; the second step imports the valid rows of the same file."""
    visitor = signed_in(app, "manager@north.example")
    answer = visitor.post(IMPORT, upload(MIXED))
    assert answer.status_code == 422
    assert "Nothing was imported" in text_of(answer)
    assert "“bad” is not an e-mail address" in text_of(answer)
    assert people(app) == {}
    done = visitor.post(f"{IMPORT}/good-rows", page=IMPORT)
    assert "Rows that were left out: 1" in text_of(done)
    assert set(people(app)) == {"a@r.example", "b@r.example"}
    assert visitor.post(f"{IMPORT}/good-rows", page=IMPORT).status_code == 404


def test_the_box_takes_the_good_rows_at_once(app: Flask) -> None:
    """With the box ticked the valid rows are imported and the invalid ones are listed."""
    answer = signed_in(app, "manager@north.example").post(IMPORT, upload(MIXED) | {"keep_good": "y"})
    assert answer.status_code == 200
    assert "Rows that were left out: 1" in text_of(answer)
    assert set(people(app)) == {"a@r.example", "b@r.example"}


def test_an_upload_waits_for_its_owner_only(app: Flask) -> None:
    """No other person can do the second step of an upload."""
    signed_in(app, "manager@north.example").post(IMPORT, upload(MIXED))
    assert signed_in(app, "admin@north.example").post(f"{IMPORT}/good-rows", page=IMPORT).status_code == 404


def test_an_unusable_file_is_explained_at_its_field(app: Flask) -> None:
    """The page names the cause and imports nothing; a missing file is reported as well."""
    visitor = signed_in(app, "manager@north.example")
    assert "not in UTF-8: line 2" in text_of(visitor.post(IMPORT, upload("email\nmüll@r.example".encode("latin-1"))))
    assert "Choose a file first." in text_of(visitor.post(IMPORT))
    assert people(app) == {}


def test_what_was_uploaded_is_escaped(app: Flask) -> None:
    """A row with HTML in it is shown as text."""
    answer = signed_in(app, "manager@north.example").post(IMPORT, upload(b"email\n<script>alert(1)</script>\n"))
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_a_new_address_was_not_invited_yet(app: Flask) -> None:
    """A corrected address makes its participant count as not invited."""
    add_people(app, "old@r.example", "other@r.example")
    visitor = signed_in(app, "manager@north.example")
    data = {"first_name": "N", "last_name": "", "language": "en"}
    taken = visitor.post("/surveys/1/participants/1", data | {"email": "OTHER@r.example"})
    assert "Another participant has this address." in text_of(taken)
    visitor.post("/surveys/1/participants/1", data | {"email": "new@r.example"})
    assert people(app)["new@r.example"].invited_at is None


def test_the_demonstration_file_is_good(app: Flask) -> None:
    """The demonstration file of five hundred people has no invalid row."""
    path = Path(__file__).parents[2] / "examples" / "survey_host" / "data" / "participants.csv"
    signed_in(app, "manager@north.example").post(IMPORT, upload(path.read_bytes()))
    assert len(people(app)) == 500


@pytest.mark.parametrize(
    ("line", "rest"),
    [("sep=;", GOOD.replace(",", ";")), ('"sep=,"', GOOD), ("SEP=\t", GOOD.replace(",", "\t"))],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_line_with_excels_delimiter_is_no_heading(line: str, rest: str, end: str) -> None:
    """It sets the delimiter, and it counts as a line."""
    found = reading(f"\ufeff{line}{end}{rest}")
    assert [(person.line, person.email) for person in found.good] == [(3, "asa@recipient.example")]


def test_a_delimiter_that_is_not_known_is_said() -> None:
    """Not "no column is called email"."""
    with pytest.raises(FileError, match=r"“\|” separates"):
        reading("sep=|\nfirstname|email\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('a,"kim lee"@recipient.example', "something follows a closing quote. Addresses with quotes"),
        ('a,"kim', "a quote is never closed. Addresses with quotes"),
    ],
)
def test_an_address_with_quotes_is_named_as_the_cause(row: str, reason: str) -> None:
    """The reason is in plain words, with the line."""
    with pytest.raises(FileError, match=f"line 2 cannot be read: {reason}"):
        reading(f"firstname,email\n{row}\n")
    assert "Quoting the part before" in reasons('email\n"""kim lee""@recipient.example"\n')[2]


def test_the_work_grows_with_the_columns_and_no_faster() -> None:
    """A heading of many cells keeps nobody waiting for hours."""
    few, many = (
        "email;" + ";".join(f"c{number}" for number in range(size)) + "\na@b.example\n" for size in (2_000, 16_000)
    )
    assert growth(reading, few, many) < LINEAR
