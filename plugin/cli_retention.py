"""`flask own-smtp purge | forget-person`: what is forgotten after its time, and who is on request."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import click

from own_smtp.cli_context import with_tables
from own_smtp.cli_operations import as_json, print_result, write
from own_smtp.current import extension
from own_smtp.forgetting import Forgotten, forget_person
from own_smtp.retention import Purge


@click.command("purge")
@click.option("--content-days", type=click.IntRange(0), help="Keep younger contents; left out: OWN_SMTP_KEEP_CONTENT.")
@click.option(
    "--recipient-days", type=click.IntRange(0), help="Keep younger addresses; left out: OWN_SMTP_KEEP_RECIPIENTS."
)
@as_json
@with_tables
def purge(content_days: int | None, recipient_days: int | None, as_json: bool) -> None:
    """Delete what finished batches said, and shorten their recipients. States, codes and references are kept.

    A dispatcher does the same every day.
    """
    own_smtp = extension()
    settings = own_smtp.in_force()
    ages = {
        "content": _age(content_days, settings.keep_content),
        "recipients": _age(recipient_days, settings.keep_recipients),
    }
    purged = Purge(own_smtp.db.engine, own_smtp.vault, **ages).run()
    text = f"The content of {purged.contents} batches was deleted, the recipients of {purged.recipients} shortened."
    print_result({"contents": purged.contents, "recipients": purged.recipients}, text, as_json=as_json)


def _age(days: int | None, setting: timedelta) -> timedelta:
    return setting if days is None else timedelta(days=days)


@click.command("forget-person")
@click.argument("address")
@click.option("--tenant", "tenant_id", required=True, help="The id of the tenant whose records are meant.")
@as_json
@with_tables
def forget(address: str, tenant_id: str, as_json: bool) -> None:
    """Cancel what waits for ADDRESS, and remove the person from everything kept of the tenant."""
    vault = extension().vault
    forgotten: Forgotten = write(lambda connection: forget_person(connection, vault, tenant_id, address))
    text = f"{forgotten.invitations} invitations forgotten, {forgotten.cancelled} of them waited and are cancelled."
    if forgotten.in_hand:
        text += f" {forgotten.in_hand} are being sent at this moment and are forgotten in a moment."
    print_result(asdict(forgotten), text, as_json=as_json)


COMMANDS = (purge, forget)
