"""`flask own-smtp keys`: which encryption keys are still needed, and secrets encrypted anew."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from own_smtp.cli_context import with_tables
from own_smtp.cli_operations import as_json, print_result
from own_smtp.current import extension
from own_smtp.rotation import KeysInUse, KeyUse, keys_in_use, reencrypt


@click.command("keys")
@click.option("--reencrypt", "renew", is_flag=True, help="Encrypt with the first key what an older one encrypted.")
@as_json
@with_tables
def keys(renew: bool, as_json: bool) -> None:
    """Say how many stored secrets need which key. Exit code 1 when some cannot be read with any.

    Before --reencrypt, every web process and every worker must have been restarted with the new key: what an old
    process cannot read pauses its mail server.
    """
    own_smtp = extension()
    renewed = reencrypt(own_smtp.db.engine, own_smtp.vault) if renew else 0
    with own_smtp.db.engine.connect() as connection:
        found = keys_in_use(connection, own_smtp.vault)
    values = {**asdict(found), "old": found.old, "lost": found.lost, "reencrypted": renewed}
    done = [f"{_counted(renewed)} encrypted anew."] if renew else []
    print_result(values, "\n".join([*done, *_described(found)]), as_json=as_json)
    sys.exit(int(found.lost > 0))


def _described(found: KeysInUse) -> list[str]:
    lines = [f"{key.key_id}: {_needs(key)}" for key in found.keys]
    if found.damaged:
        lines.append(f"{_counted(found.damaged)} of a form that no key reads. Have them entered again.")
    if found.old:
        lines.append("Run `flask own-smtp keys --reencrypt` once every process knows the first key.")
    if found.are_recipients_hashed and len(found.keys) > 1:
        lines.append(
            "There are shortened recipients. Whoever was shortened under an old key is found by the whole address, and"
            " forgotten on request, only as long as that key stays."
        )
    return lines


def _needs(key: KeyUse) -> str:
    if not key.is_configured:
        return f"NOT CONFIGURED, and {_counted(key.secrets)} cannot be read without it."
    if key.is_first:
        return f"encrypts from now on; {_counted(key.secrets)}."
    if key.secrets:
        return f"still needed for {_counted(key.secrets)}."
    return "no secret needs it: it may be taken out of OWN_SMTP_ENCRYPTION_KEYS."


def _counted(number: int) -> str:
    return f"{number} secret" if number == 1 else f"{number} secrets"


COMMANDS = (keys,)
