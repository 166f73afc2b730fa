"""`flask own-smtp status | check | pause | resume | cancel | retry`: operators' acts without a page.

With `--json` each prints one object. The exit code is 0 on success, 1 when something needs attention or failed, and 2
for invalid arguments.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

import click
from sqlalchemy import Connection

from own_smtp.cli.context import check_tables, with_extension, with_tables
from own_smtp.current import Extension, extension
from own_smtp.errors import ConflictError, NotFoundError, SecretError
from own_smtp.operations import batch_service, health, relay_service
from own_smtp.operations.acts import Acting, operator
from own_smtp.operations.key_rotation import KeysInUse, keys_in_use
from own_smtp.operations.status import PlatformStatus, RelayStatus, read_status
from own_smtp.relays import store
from own_smtp.settings import INTERACTIVE
from own_smtp.smtp.session import Session, SetupError
from own_smtp.smtp.submission import resolver_for
from own_smtp.smtp.trace import TraceLine, TraceStep
from own_smtp.smtp.values import RelayProfile
from own_smtp.states import State
from own_smtp.storage import engine_checks, periodic

T = TypeVar("T")

AGAIN = [state.value for state in (State.REFUSED, State.FAILED, State.CANCELLED, State.UNKNOWN)]

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
of_batch = click.option("--batch", "is_batch", is_flag=True, help="ID is a batch, not a mail server.")


def print_result(values: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a command's result, for a program or for people."""
    click.echo(json.dumps(values, default=_plain) if as_json else text)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def write(work: Callable[[Connection], T]) -> T:
    """Run `act` in one transaction; an error ends the command with its reason."""

    def in_transaction(own_smtp: Extension) -> T:
        with own_smtp.db.engine.begin() as connection:
            return work(connection)

    return perform(in_transaction)


def perform(work: Callable[[Extension], T]) -> T:
    """Run `act`; an error ends the command with its reason."""
    try:
        return work(extension())
    except (ConflictError, NotFoundError) as error:
        raise click.ClickException(str(error)) from error


@click.command("status")
@as_json
@with_tables
def status(as_json: bool) -> None:
    """Show waiting invitations, their blockers, and running workers. Exit code 1 when something needs attention."""
    own_smtp = extension()
    with own_smtp.db.engine.connect() as connection:
        status = read_status(connection)
        keys = keys_in_use(connection, own_smtp.vault)
    problem, can_write = own_smtp.queue_problem(), not periodic.is_recent(own_smtp.db.engine, periodic.NO_JOURNAL)
    needs_attention = bool(problem) or not can_write or any(relay.needs_attention for relay in status.relays)
    values = {"redis": problem is None, "redis_problem": problem, "journal": can_write, **asdict(status)}
    values["needs_attention"] = needs_attention
    values["secrets"] = {"old_key": keys.old, "lost": keys.lost}
    found = [health.describe_redis(problem), *([] if can_write else [health.NO_JOURNAL])]
    print_result(values, "\n".join([*found, _describe(status, keys)]), as_json=as_json)
    sys.exit(int(needs_attention))


def _describe(status: PlatformStatus, keys: KeysInUse) -> str:
    lines = [_describe_relay(relay) for relay in status.relays] or ["No mail servers yet."]
    lines.append(f"Journals open: {status.open_journals}. Status events not delivered yet: {status.untold}.")
    if keys.old or keys.lost:
        lines.append(f"Secrets with an old key: {keys.old}; without any: {keys.lost}. See `own-smtp keys`.")
    return "\n".join(lines)


def _describe_relay(relay: RelayStatus) -> str:
    parts = [f"{relay.relay_id}  {relay.tenant_id}/{relay.label}: {relay.state}"]
    if relay.pause_reason:
        parts.append(f"reason {relay.pause_reason}")
    parts.append(f"{relay.queued} queued, {relay.sending} being sent")
    if relay.waiting_since:
        parts.append(f"oldest since {relay.waiting_since:%Y-%m-%d %H:%M} UTC")
    if relay.drained_by:
        parts.append(f"drained by {relay.drained_by}")
    if relay.failures:
        parts.append(f"{relay.failures} failures in a row, next {relay.wake_at:%H:%M:%S} UTC, {relay.last_error}")
    return ", ".join(parts)


@click.command("check")
@click.argument("relay_id", type=int, metavar="[RELAY]", required=False)
@as_json
@with_extension
def check(relay_id: int | None, as_json: bool) -> None:
    """Connect to RELAY as a worker does, sign in, and show the result. Sends no message.

    Without RELAY, check database, tables, Redis and workers.
    """
    if relay_id is None:
        _check_all(as_json=as_json)
        return
    steps, problem = asyncio.run(_try(_profile(relay_id)))
    values = {"relay_id": relay_id, "ok": problem is None, "steps": [step.text for step in steps], "problem": problem}
    text = "\n".join([step.text for step in steps] + [problem or "The server is ready for invitations."])
    print_result(values, text, as_json=as_json)
    sys.exit(int(problem is not None))


def _check_all(*, as_json: bool) -> None:
    engine = extension().db.engine
    found = health.examine(engine, extension().queue_problem)
    notes = engine_checks.find_problems(engine) if found.database else []
    text = "\n".join([health.describe(found), *(f"Note: {note}" for note in notes)])
    print_result({**found.as_dict(), "notes": notes}, text, as_json=as_json)
    sys.exit(int(found.status != "ok"))


def _profile(relay_id: int) -> RelayProfile:
    own_smtp = extension()
    check_tables(own_smtp.db.engine)
    try:
        with own_smtp.db.engine.connect() as connection:
            profile = store.load_profile(connection, relay_id, own_smtp.vault)
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    if profile is None:
        raise click.ClickException(f"There is no mail server {relay_id}.")
    return profile


async def _try(profile: RelayProfile) -> tuple[list[TraceStep], str | None]:
    seen: list[TraceStep | TraceLine] = []
    session = Session(profile, INTERACTIVE, seen.append)
    problem = None
    try:
        await session.open(resolver_for(extension().network_policy))
        await session.close()
    except SetupError as error:
        problem = str(error)
    return [item for item in seen if isinstance(item, TraceStep)], problem


@click.command("pause")
@click.argument("id_", type=int, metavar="ID")
@of_batch
@click.option("--note", default="Paused by an operator.", help="Reason, shown to the tenant's people.")
@as_json
@with_tables
def pause(id_: int, is_batch: bool, note: str, as_json: bool) -> None:
    """Pause a mail server or a batch. Waiting invitations stay queued."""

    def work(own_smtp: Extension) -> None:
        if is_batch:
            batch_service.pause(own_smtp, _operator_of_batch(own_smtp, id_), id_)
        elif not relay_service.pause(own_smtp, _operator_of_relay(own_smtp, id_), id_, note):
            raise ConflictError("The mail server is not active.")

    perform(work)
    print_result({"id": id_, "is_batch": is_batch, "paused": True}, "Paused.", as_json=as_json)


@click.command("resume")
@click.argument("id_", type=int, metavar="ID")
@of_batch
@as_json
@with_tables
def resume(id_: int, is_batch: bool, as_json: bool) -> None:
    """Resume a paused mail server, or a paused batch."""

    def work(own_smtp: Extension) -> None:
        if is_batch:
            batch_service.resume(own_smtp, _operator_of_batch(own_smtp, id_), id_)
        elif not relay_service.resume(own_smtp, _operator_of_relay(own_smtp, id_), id_):
            raise ConflictError("The mail server is not paused.")

    perform(work)
    print_result({"id": id_, "is_batch": is_batch, "paused": False}, "Resumed.", as_json=as_json)


def _operator_of_relay(own_smtp: Extension, relay_id: int) -> Acting:
    return operator(store.tenant_of(own_smtp.db.session(), relay_id))


def _operator_of_batch(own_smtp: Extension, batch_id: int) -> Acting:
    return operator(batch_service.tenant_of(own_smtp, batch_id))


@click.command("cancel")
@click.argument("batch_id", type=int, metavar="BATCH")
@as_json
@with_tables
def cancel(batch_id: int, as_json: bool) -> None:
    """Cancel the waiting invitations of BATCH. Those that a worker has claimed are still sent."""
    count = perform(lambda own_smtp: batch_service.cancel(own_smtp, _operator_of_batch(own_smtp, batch_id), batch_id))
    print_result({"batch_id": batch_id, "cancelled": count}, f"{count} invitations cancelled.", as_json=as_json)


@click.command("retry")
@click.argument("batch_id", type=int, metavar="BATCH")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(AGAIN), default=(State.FAILED.value,), show_default=True
)
@click.option("--copies-are-possible", is_flag=True, help="Required for `unknown`: some of them may have arrived.")
@as_json
@with_tables
def retry(batch_id: int, states: tuple[str, ...], copies_are_possible: bool, as_json: bool) -> None:
    """Queue the invitations of BATCH that are in these final states again."""
    if State.UNKNOWN in states and not copies_are_possible:
        raise click.UsageError("Unknown invitations may have arrived. Add --copies-are-possible to send them again.")
    wanted = [State(state) for state in states]
    count = perform(
        lambda own_smtp: batch_service.retry(own_smtp, _operator_of_batch(own_smtp, batch_id), batch_id, wanted)
    )
    print_result({"batch_id": batch_id, "queued": count}, f"{count} invitations queued again.", as_json=as_json)


COMMANDS = (status, check, pause, resume, cancel, retry)
