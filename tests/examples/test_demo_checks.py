"""The walk's checks: they detect every kind of error in the mails and in the report."""

from dataclasses import replace

import pytest

from demo.browser import Page
from demo.checks import Mail, Person, Reported, problems_with_mails, problems_with_report, read_people
from demo.reading import columns_of, drawn, read_report, report_table
from demo.recipients import REFUSED
from demo.stage import PARTICIPANTS

GONE = "evdokia.vlastou@example.net"
PEOPLE = [
    Person("a@example.org", "Änne", "Groß"),
    Person("b@example.org", "太郎", "佐藤"),
    *(Person(address, "", "X") for address in REFUSED),
]
LINKS = {person.address: f"http://127.0.0.1:1/s/1/t0k-en_{number}" for number, person in enumerate(PEOPLE)}


def mail_to(person, number=0):
    text = f"Dear {person.first_name} {person.last_name},\n{LINKS[person.address]}\nhttp://127.0.0.1:1/opt-out/1/t\n"
    return Mail((person.address,), (person.address,), f"<{person.address}.{number}>", text)


GOOD = [mail_to(person) for person in PEOPLE[:2]]


def test_right_mails_have_no_problem():
    """Each person once, with their own name and link, and none of the refused ones: no problem."""
    assert list(problems_with_mails(PEOPLE, LINKS, GOOD)) == []


@pytest.mark.parametrize(
    ("mails", "complaint"),
    [
        (GOOD[:1], "1 invitations never arrived: b@example.org."),
        ([*GOOD, mail_to(PEOPLE[0], 2)], "1 invitations arrived more than once: a@example.org."),
        ([*GOOD, mail_to(PEOPLE[3])], f"1 invitations arrived although nobody should get them: {PEOPLE[3].address}."),
        ([*GOOD, replace(GOOD[0], recipients=("z@example.org",))], "nobody should get them: z@example.org."),
        ([GOOD[0], replace(GOOD[1], text=GOOD[0].text)], "lack the right name, address or link: b@example.org."),
        ([GOOD[0], replace(GOOD[1], text=GOOD[1].text + LINKS["a@example.org"])], "address or link: b@example.org."),
        ([GOOD[0], replace(GOOD[1], text=GOOD[1].text.replace("_1", "_10"))], "address or link: b@example.org."),
        ([GOOD[0], replace(GOOD[1], shown_to=("a@example.org",))], "name, address or link: b@example.org."),
        ([GOOD[0], replace(GOOD[1], recipients=("b@example.org", "a@example.org"))], "more than once: a@example.org."),
        ([GOOD[0], replace(GOOD[1], message_id=GOOD[0].message_id)], "2 invitations have 1 distinct Message-IDs."),
    ],
)
def test_each_wrong_mail_is_noticed(mails, complaint):
    """Missing, duplicate, uninvited, mixed up: each one is reported."""
    assert any(complaint in problem for problem in problems_with_mails(PEOPLE, LINKS, mails))


def test_links_that_two_people_share_are_noticed():
    """Fewer links than people is a problem, even if each mail matches its person."""
    shared = LINKS | {PEOPLE[4].address: LINKS[PEOPLE[3].address]}
    assert list(problems_with_mails(PEOPLE, shared, GOOD)) == ["5 people have 4 distinct links."]


def test_many_problems_of_one_kind_are_counted_and_sampled():
    """The first five are named, the others counted."""
    crowd = [Person(f"p{number}@example.org", "P", "Q") for number in range(9)]
    (problem,) = problems_with_mails(crowd, {person.address: person.address for person in crowd}, [])
    assert problem.startswith("9 invitations never arrived: p0@example.org, ")
    assert problem.endswith(", p4@example.org and 4 more.")


QUOTES = dict(REFUSED)
TRUE = Reported(
    {
        "Accepted by your server": 2,
        "Refused by your server": 3,
        "Delivered": None,
        "Bounced for now": None,
        "Bounced for good": None,
    },
    QUOTES,
)


def test_a_true_report_has_no_problem():
    """The right numbers, the server's replies, and no further claim: no problem."""
    assert list(problems_with_report(PEOPLE, TRUE)) == []
    assert TRUE.settled == 5


@pytest.mark.parametrize(
    ("shown", "complaint"),
    [
        (replace(TRUE, numbers=TRUE.numbers | {"Accepted by your server": 1}), "should say 2 accepted, and says 1."),
        (
            replace(TRUE, numbers={"Delivered": None, "Bounced for now": None, "Bounced for good": None}),
            "should say 3 refused, and says nothing.",
        ),
        (replace(TRUE, numbers=TRUE.numbers | {"Delivered": 2}), "not claim to know what was delivered."),
        (replace(TRUE, refusals=QUOTES | {GONE: "550 no"}), f"for {GONE}, and says “550 no”."),
        (replace(TRUE, refusals=QUOTES | {"a@example.org": "x"}), "are reported as not accepted: a@example.org."),
    ],
)
def test_each_wrong_report_is_noticed(shown, complaint):
    """A wrong number, a missing reply, a claim that cannot be known: each one is reported."""
    assert any(complaint in problem for problem in problems_with_report(PEOPLE, shown))


def test_the_file_is_read_as_it_is():
    """All 500 rows are read with name and address."""
    people = read_people(PARTICIPANTS)
    assert len(people) == 500
    assert all(person.address for person in people)


PAGE = """
<table><tr><th>State</th><th>Number</th><th>What it means</th></tr>
<tr><th>Waiting</th><td>1</td><td>x</td></tr><tr><th>Accepted</th><td>1,497</td><td>x</td></tr>
<tr><th>Delivered</th><td>not known</td><td>x</td></tr></table>
<table><tr><th>Recipient</th><th>State</th><th>What the server said, or what happened</th><th>When</th></tr>
<tr><th>a@b.example</th><td>Refused</td><td><q>550 5.1.1 No</q></td><td>now</td></tr></table>
"""


def test_the_report_page_is_read():
    """Numbers with separators, unknown numbers and replies are read unchanged."""
    shown = read_report(Page("http://x/", 200, PAGE.encode()))
    assert shown == Reported({"Waiting": 1, "Accepted": 1497, "Delivered": None}, {"a@b.example": "550 5.1.1 No"})
    assert shown.settled == 1497


def test_a_table_counts_columns_as_a_terminal_does():
    """Wide letters take two columns and combining marks none, so that the second column stays aligned."""
    assert [columns_of(text) for text in ("abc", "日本", "e\u0301")] == [3, 4, 1]
    lines = drawn(("A", "B"), [("日本", "x"), ("e\u0301", "y")]).splitlines()
    assert lines == ["A     B", "────  ─", "日本  x", "e\u0301     y"]


def test_the_printed_report_keeps_to_its_width():
    """A long reply is wrapped in its column, and no line is too long."""
    shown = Reported({"Accepted": 2, "Delivered": None}, {"somebody@example.org": "550 " + "word " * 60})
    text = report_table(shown)
    assert "Delivered  not known" in text
    assert max(map(len, text.splitlines())) <= 100
