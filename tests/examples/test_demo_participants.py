"""The five hundred people of the demo."""

import csv
import unicodedata

import pytest

from demo.recipients import DELAYED, REFUSED
from demo.stage import PARTICIPANTS

SCRIPTS = ["LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "BENGALI", "TAMIL", "CJK", "HIRAGANA"]
SCRIPTS += ["KATAKANA", "HANGUL", "THAI", "GEORGIAN", "ARMENIAN", "ETHIOPIC"]
RESERVED = ("example", "example.org", "example.com", "example.net")


@pytest.fixture(scope="module")
def people():
    with PARTICIPANTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=";", strict=True))


def names(people):
    return [f"{person['firstname']} {person['lastname']}".strip() for person in people]


def test_there_are_five_hundred_with_addresses_of_their_own(people):
    """500 rows, each with an address that no other row has, ignoring case."""
    assert len(people) == 500
    assert len({person["email"].casefold() for person in people}) == 500


def test_the_columns_are_those_of_a_real_export(people):
    """The heading is LimeSurvey's, and every row has exactly its cells."""
    columns = ["firstname", "lastname", "email", "language", "attribute_1", "attribute_2"]
    assert all(list(person) == columns and None not in person.values() for person in people)


def test_no_address_can_reach_anybody(people):
    """Every domain is one that RFC 2606 reserves."""
    domains = {person["email"].rpartition("@")[2] for person in people}
    assert [domain for domain in domains if not any(f".{domain}".endswith(f".{end}") for end in RESERVED)] == []


def test_addresses_need_no_smtputf8(people):
    """Every address is ASCII, and its local part fits into 64 octets (RFC 5321, 4.5.3.1.1)."""
    assert all(person["email"].isascii() for person in people)
    assert max(len(person["email"].rpartition("@")[0]) for person in people) <= 64


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_come_in_many_scripts(people, script):
    """At least three names are written in this script."""
    written = [name for name in names(people) if any(unicodedata.name(c, "").startswith(script) for c in name)]
    assert len(written) >= 3


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("an apostrophe", lambda person: "'" in person["lastname"]),
        ("an apostrophe in the address", lambda person: "'" in person["email"]),
        ("a hyphen", lambda person: "-" in person["lastname"]),
        ("a plus in the address", lambda person: "+" in person["email"]),
        ("no first name", lambda person: not person["firstname"]),
        ("no last name", lambda person: not person["lastname"]),
        ("one letter as last name", lambda person: len(person["lastname"]) == 1),
        ("a very long name", lambda person: len(person["firstname"] + person["lastname"]) > 75),
        ("an ampersand", lambda person: "&" in person["lastname"]),
        ("a quotation mark", lambda person: '"' in person["firstname"]),
        ("the delimiter in a cell", lambda person: ";" in person["attribute_1"]),
        ("a decomposed letter", lambda person: not unicodedata.is_normalized("NFC", person["firstname"])),
        ("a letter beyond 16 bits", lambda person: any(ord(c) > 0xFFFF for c in person["lastname"])),
        ("a letter that joins nothing", lambda person: "\u200c" in person["lastname"]),
        ("no language", lambda person: not person["language"]),
        ("a language with a region", lambda person: person["language"] == "de-AT"),
    ],
)
def test_what_real_lists_have_is_there(people, claim, holds):
    """Each irregularity of real lists occurs in at least one row."""
    assert any(map(holds, people)), claim


def test_the_addresses_with_answers_of_their_own_are_there(people):
    """All addresses that the catch-all refuses or defers are in the list, and none is both."""
    assert {*REFUSED, *DELAYED} <= {person["email"] for person in people}
    assert not DELAYED & REFUSED.keys()
