"""P11: the cost of composing a personalised message of 3 KB, against `EmailMessage` and Flask-Mail.

All three compose the same messages for the same recipients: text and HTML, seven placeholders, one name in five with
characters outside ASCII.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from pathlib import Path
from typing import Any

import flask
import flask_mail

from own_smtp.hooks import Content
from own_smtp.messages.compiler import compile_content, message_id
from own_smtp.messages.placeholders import Template
from own_smtp.smtp.values import Identity

BAR = 70.0
ROUNDS = 5
PEER_MESSAGES = 100
OUR_MESSAGES = 4_000
KIB = 1024
DATE = "Fri, 02 Jan 2026 03:04:05 +0000"
IDENTITY = Identity(address="surveys@example.org", name="Example Surveys", reply_to="help@example.org")

_WORDS = "we would like to know how you see our services, and ask you for ten minutes of your time.\n"
_TEXT = (
    "Dear {FIRSTNAME} {LASTNAME},\n\n" + _WORDS * 8 + "\n{SURVEYURL}\n\nOpt out: {OPTOUTURL}\n{ADMINNAME}, {COMPANY}\n"
)
_HTML = (
    "<html><body><p>Dear {FIRSTNAME} {LASTNAME},</p><p>"
    + _WORDS * 10
    + '</p><p><a href="{SURVEYURL}">{SURVEYURL}</a></p>'
    '<p><a href="{OPTOUTURL}">Opt out</a></p><p>{ADMINNAME}, {COMPANY}</p></body></html>\n'
)
CONTENT = Content(
    subject="{FIRSTNAME}, your opinion counts",
    text=_TEXT,
    html=_HTML,
    list_unsubscribe="{OPTOUTURL}",
    one_click_unsubscribe=True,
)
_FIRST = ("Anna", "Bob", "Chidi", "Zoë", "Dana")
_LAST = ("Schmidt", "O'Neil", "Okafor", "Müller", "Li")

Values = dict[str, str]


def recipients(count: int) -> Iterator[tuple[int, Values]]:
    for number in range(count):
        token = f"{number:08d}abcdefghijklmnop"
        yield (
            number,
            {
                "FIRSTNAME": _FIRST[number % 5],
                "LASTNAME": _LAST[number % 5],
                "SURVEYURL": f"https://surveys.example.org/12345?token={token}&lang=en",
                "OPTOUTURL": f"https://surveys.example.org/out/{token}",
                "ADMINNAME": "The survey team",
                "COMPANY": "Example & Sons",
            },
        )


def substitute(template: str, values: Values) -> str:
    """Fill in a text, for peers without a compiled one."""
    return Template(template).fill(values)


def ours() -> Callable[[int, Values], bytes]:
    compiled = compile_content(CONTENT, IDENTITY)

    def compose(number: int, values: Values) -> bytes:
        return compiled.compose(
            address=f"person{number}@example.net",
            name=f"{values['FIRSTNAME']} {values['LASTNAME']}",
            values=values,
            message_id=message_id("0123456789abcdef", number, "example.org"),
            date=DATE,
        )

    return compose


def by_email_message(number: int, values: Values) -> bytes:
    message = EmailMessage()
    message["From"] = f"{IDENTITY.name} <{IDENTITY.address}>"
    message["To"] = f'"{values["FIRSTNAME"]} {values["LASTNAME"]}" <person{number}@example.net>'
    message["Reply-To"] = IDENTITY.reply_to
    message["Subject"] = substitute(CONTENT.subject, values)
    message["Date"] = DATE
    message["Message-ID"] = message_id("0123456789abcdef", number, "example.org")
    message["Auto-Submitted"] = "auto-generated"
    message["List-Unsubscribe"] = f"<{values['OPTOUTURL']}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(substitute(_TEXT, values))
    message.add_alternative(substitute(_HTML, {key: escape(value) for key, value in values.items()}), subtype="html")
    return message.as_bytes(policy=SMTP)


def by_flask_mail(number: int, values: Values) -> bytes:
    message = flask_mail.Message(
        subject=substitute(CONTENT.subject, values),
        sender=(IDENTITY.name, IDENTITY.address),
        recipients=[(f"{values['FIRSTNAME']} {values['LASTNAME']}", f"person{number}@example.net")],
        reply_to=IDENTITY.reply_to,
        body=substitute(_TEXT, values),
        html=substitute(_HTML, {key: escape(value) for key, value in values.items()}),
        extra_headers={"List-Unsubscribe": f"<{values['OPTOUTURL']}>", "Auto-Submitted": "auto-generated"},
    )
    return message.as_bytes()


def run() -> list[dict[str, Any]]:
    """Return one row against each peer (medians of alternating rounds), and one for memory."""
    app = flask.Flask(__name__)
    flask_mail.Mail(app)
    with app.app_context():
        rounds = [
            (
                _microseconds(ours(), OUR_MESSAGES),
                _microseconds(by_email_message, PEER_MESSAGES),
                _microseconds(by_flask_mail, PEER_MESSAGES),
            )
            for _ in range(ROUNDS)
        ]
    size = len(ours()(1, dict(next(recipients(1))[1])))
    what = f"composing a personalised message of {size / KIB:.1f} KiB, against "
    return [
        _row(what + "EmailMessage.as_bytes", [(mine, peer) for mine, peer, _ in rounds]),
        _row(what + "Flask-Mail's Message.as_bytes", [(mine, peer) for mine, _, peer in rounds]),
        memory(),
    ]


def memory() -> dict[str, Any]:
    """Return the process's growth from the 2,000th to the 100,000th composed message."""
    compose, grown = ours(), [0.0, 0.0]
    for number, values in recipients(100_000):
        compose(number, values)
        if number == 2_000:
            grown[0] = _resident()
    grown[1] = _resident()
    return {
        "id": "P11",
        "what": "memory of a process that composed 100,000 messages, against 2,000",
        "ours": f"{grown[1]:.1f} MiB",
        "peer": f"{grown[0]:.1f} MiB",
        "ratio": grown[1] / grown[0],
        "bar": "<= 1.05",
    }


def _row(what: str, rounds: list[tuple[float, float]]) -> dict[str, Any]:
    return {
        "id": "P11",
        "what": what,
        "ours": f"{statistics.median(mine for mine, _ in rounds):.1f} µs",
        "peer": f"{statistics.median(peer for _, peer in rounds):.0f} µs",
        "ratio": statistics.median(peer / mine for mine, peer in rounds),
        "bar": f">= {BAR:.0f}" if "EmailMessage" in what else "",
    }


def _microseconds(compose: Callable[[int, Values], bytes], count: int) -> float:
    people = list(recipients(count))
    started = time.process_time()
    for number, values in people:
        compose(number, values)
    return (time.process_time() - started) / count * 1e6


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4 / KIB


if __name__ == "__main__":
    for row in run():
        print(f"{row['id']}  {row['what']}: {row['ours']} / {row['peer']} = {row['ratio']:.2f} x (bar {row['bar']})")
