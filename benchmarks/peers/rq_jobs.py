"""The obvious design: one RQ job for each message, sent by Flask-Mail over a connection of its own."""

from __future__ import annotations

import os
from functools import cache

import flask

from benchmarks.peers.flask_mail_loop import make_app, message

PORT = "BENCHMARK_SMTP_PORT"


@cache
def app() -> flask.Flask:
    return make_app(int(os.environ[PORT]))


def send(number: int, values: dict[str, str]) -> None:
    """Send one message: the job."""
    with app().app_context():
        app().extensions["mail"].send(message(number, values))
