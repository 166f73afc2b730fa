"""`flask own-smtp purge | forget-person | after-restore | keys`: retention, erasure, restore and key rotation."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import timedelta

import click

from own_smtp.cli.context import with_tables
from own_smtp.cli.operations import as_json, print_result, write
from own_smtp.current import extension
from own_smtp.operations.after_restore import mark_waiting_unknown
from own_smtp.operations.erasure import Forgotten, forget_person
from own_smtp.operations.key_rotation import KeysInUse, KeyUse, keys_in_use, reencrypt
from own_smtp.operations.retention import Purge


@click.command("keys")
@click.option("--reencrypt", "renew", is_flag=True, help="Re-encrypt secrets of older keys with the first key.")
@as_json
@with_tables
def keys(renew: bool, as_json: bool) -> None:
    """Show how many stored secrets need which key. Exit code 1 when some cannot be decrypted with any.

    Before --reencrypt, restart every web process and every worker with the new key: a secret that an old process cannot
    decrypt pauses its mail server.
    """
    own_smtp = extension()
    renewed = reencrypt(own_smtp.db.engine, own_smtp.vault) if renew else 0
    with own_smtp.db.engine.connect() as connection:
        found = keys_in_use(connection, own_smtp.vault)
    values = {**asdict(found), "old": found.old, "lost": found.lost, "reencrypted": renewed}
    done = [f"{_counted(renewed)} re-encrypted."] if renew else []
    print_result(values, "\n".join([*done, *_described(found)]), as_json=as_json)
    sys.exit(int(found.lost > 0))


def _described(found: KeysInUse) -> list[str]:
    lines = [f"{key.key_id}: {_key_status(key)}" for key in found.keys]
    if found.damaged:
        lines.append(f"{_counted(found.damaged)} in a format that no key decrypts. They must be entered again.")
    if found.old:
        lines.append("Run `flask own-smtp keys --reencrypt` once every process has the first key.")
    if found.are_recipients_hashed and len(found.keys) > 1:
        lines.append(
            "There are shortened recipients. Those shortened under an old key are found by a search for the whole"
            " address, and by a request for erasure, only as long as that key stays."
        )
    return lines


def _key_status(key: KeyUse) -> str:
    if not key.is_configured:
        return f"NOT CONFIGURED, and {_counted(key.secrets)} cannot be decrypted without it."
    if key.is_first:
        return f"encrypts from now on; {_counted(key.secrets)}."
    if key.secrets:
        return f"still needed for {_counted(key.secrets)}."
    return "no secret needs it: it can be removed from OWN_SMTP_ENCRYPTION_KEYS."


def _counted(number: int) -> str:
    return f"{number} secret" if number == 1 else f"{number} secrets"


PROMPT = "This marks all waiting invitations as unknown. Are all workers stopped?"


@click.command("after-restore")
@click.confirmation_option(prompt=PROMPT)
@as_json
@with_tables
def after_restore(as_json: bool) -> None:
    """Mark invitations that wait in a restored backup as unknown: they may have been sent since.

    Keep all workers stopped until it is done. Send those that are known to be missing with `retry --state unknown`.
    """
    doubted = mark_waiting_unknown(extension().db.engine)
    text = f"{doubted.invitations} invitations of {doubted.batches} batches are unknown now. Workers may start."
    print_result(asdict(doubted), text, as_json=as_json)


@click.command("purge")
@click.option("--content-days", type=click.IntRange(0), help="Keep younger contents. Default: OWN_SMTP_KEEP_CONTENT.")
@click.option(
    "--recipient-days", type=click.IntRange(0), help="Keep younger addresses. Default: OWN_SMTP_KEEP_RECIPIENTS."
)
@as_json
@with_tables
def purge(content_days: int | None, recipient_days: int | None, as_json: bool) -> None:
    """Delete the contents of finished batches, and shorten their recipients. States, codes and references are kept.

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
@click.option("--tenant", "tenant_id", required=True, help="The tenant's id.")
@as_json
@with_tables
def forget(address: str, tenant_id: str, as_json: bool) -> None:
    """Cancel the waiting invitations to ADDRESS, and erase the person's data from all records of the tenant."""
    vault = extension().vault
    forgotten: Forgotten = write(lambda connection: forget_person(connection, vault, tenant_id, address))
    text = f"{forgotten.invitations} invitations erased, {forgotten.cancelled} of them were waiting and are cancelled."
    if forgotten.in_hand:
        text += f" {forgotten.in_hand} are being sent at this moment and will be erased afterwards."
    print_result(asdict(forgotten), text, as_json=as_json)


COMMANDS = (purge, forget, after_restore, keys)
