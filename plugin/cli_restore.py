"""`flask own-smtp after-restore`: what must happen before a worker runs on a restored database."""

from __future__ import annotations

from dataclasses import asdict

import click

from own_smtp.cli_context import with_tables
from own_smtp.cli_operations import as_json, print_result
from own_smtp.current import extension
from own_smtp.restoring import doubt_what_waits

PROMPT = "All that waits becomes unknown, and no worker may run meanwhile. Are all workers stopped?"


@click.command("after-restore")
@click.confirmation_option(prompt=PROMPT)
@as_json
@with_tables
def after_restore(as_json: bool) -> None:
    """Make unknown what waited when a restored backup was made: it may have been sent since.

    Keep all workers stopped until it is done. What is known to be missing is sent by `retry --state unknown`.
    """
    doubted = doubt_what_waits(extension().db.engine)
    text = f"{doubted.invitations} invitations of {doubted.batches} batches are unknown now. Workers may start."
    print_result(asdict(doubted), text, as_json=as_json)


COMMANDS = (after_restore,)
