"""`flask own-smtp log`: the state and the attempts of each invitation, for operators and for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click

from own_smtp.cli.context import with_tables
from own_smtp.current import extension
from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox.query import LogScope, Position, check
from own_smtp.outbox.recipient_search import with_shortened
from own_smtp.reporting import delivery_log
from own_smtp.reporting.delivery_log import LogLine
from own_smtp.reporting.exports import FILES, as_object
from own_smtp.states import State

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.command("log")
@click.argument("tenant_id", metavar="TENANT")
@click.option("--project", "projects", multiple=True, metavar="ID", help="Only these projects.")
@click.option("--relay", type=int, metavar="ID", help="Only this mail server.")
@click.option("--batch", type=int, metavar="ID", help="Only this batch.")
@click.option("--state", "states", multiple=True, type=click.Choice([state.value for state in State]))
@click.option("--recipient", default="", help="Part of the address.")
@click.option("--reply", default="", help="The last reply's code, its beginning, or its enhanced code.")
@click.option("--text", default="", help="Part of the server's last reply, or of the error's text.")
@click.option("--since", type=MOMENT, help="Last changed at this time or later, in UTC.")
@click.option("--until", type=MOMENT, help="Last changed before this time, in UTC.")
@click.option("--oldest-first", is_flag=True)
@click.option("--after", metavar="POSITION", help="Continue after this `position` of an earlier result.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of invitations.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: an object for each invitation.")
@click.option("--administrator", is_flag=True, help="Print CSV for the administrator of the mail server.")
@with_tables
def log(
    tenant_id: str, projects: tuple[str, ...], relay: int | None, as_json: bool, administrator: bool, **options: Any
) -> None:
    """List the invitations of TENANT with their attempts, newest first.

    Prints while it reads, however many there are.
    """
    wanted = with_shortened(_wanted(**options), extension().vault, tenant_id)
    scope = LogScope(tenant_id=tenant_id, project_ids=frozenset(projects) or None, relay_id=relay)
    with extension().db.engine.connect() as connection:
        lines = delivery_log.stream(connection, scope, wanted)
        for text in _texts(lines, as_json=as_json, administrator=administrator):
            click.echo(text, nl=False)


def _wanted(
    *,
    batch: int | None,
    states: tuple[str, ...],
    recipient: str,
    reply: str,
    text: str,
    since: datetime | None,
    until: datetime | None,
    oldest_first: bool,
    after: str | None,
    limit: int | None,
) -> StatusFilter:
    wanted = StatusFilter(
        batch_id=batch,
        states=frozenset(map(State, states)),
        recipient=recipient,
        reply=reply,
        text=text,
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        oldest_first=oldest_first,
        after=after,
        limit=limit,
    )
    try:
        check(wanted)
        if after:
            Position.parse(after)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return wanted


def _texts(lines: Iterable[LogLine], *, as_json: bool, administrator: bool) -> Iterable[str]:
    if as_json:
        return (json.dumps(as_object(line)) + "\n" for line in lines)
    if administrator:
        return FILES["administrator.csv"].write(lines)
    return (_describe(line) for line in lines)


def _describe(line: LogLine) -> str:
    status = line.status
    text = f"{status.changed_at:%Y-%m-%d %H:%M:%S} UTC  {status.state:9}  {status.address}  {status.message_id}\n"
    for item in line.attempts:
        parts = [f"{item.at:%Y-%m-%d %H:%M:%S}", item.stage, item.server, item.code, item.enhanced, item.text]
        text += "    " + "  ".join(str(part) for part in parts if part) + "\n"
        if item.explanation:
            text += f"      {item.explanation.cause} ({item.explanation.who})\n"
    return text


COMMANDS = (log,)
