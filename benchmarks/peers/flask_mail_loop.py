"""Flask-Mail as most platforms use it: one job that sends all mails over one persistent connection."""

from __future__ import annotations

import json
import sys
import time
from html import escape

import flask
import flask_mail

from benchmarks.composing import CONTENT, IDENTITY, Values, recipients, substitute


def make_app(port: int) -> flask.Flask:
    app = flask.Flask("peer")
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=port)
    flask_mail.Mail(app)
    return app


def message(number: int, values: Values) -> flask_mail.Message:
    assert CONTENT.text is not None
    assert CONTENT.html is not None
    return flask_mail.Message(
        subject=substitute(CONTENT.subject, values),
        sender=(IDENTITY.name, IDENTITY.address),
        recipients=[(f"{values['FIRSTNAME']} {values['LASTNAME']}", f"person{number}@example.net")],
        reply_to=IDENTITY.reply_to,
        body=substitute(CONTENT.text, values),
        html=substitute(CONTENT.html, {key: escape(value) for key, value in values.items()}),
        extra_headers={"List-Unsubscribe": f"<{values['OPTOUTURL']}>", "Auto-Submitted": "auto-generated"},
    )


def main() -> None:
    given = json.loads(sys.argv[1])
    app = make_app(given["port"])
    mail: flask_mail.Mail = app.extensions["mail"]
    started = time.perf_counter()
    with app.app_context(), mail.connect() as connection:
        for number, values in recipients(given["messages"]):
            connection.send(message(number, values))
    print(json.dumps({"seconds": time.perf_counter() - started, "messages": given["messages"]}))


if __name__ == "__main__":
    main()
