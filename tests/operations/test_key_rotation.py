"""Key rotation: secrets that still need an old key, and re-encryption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from own_smtp.operations import key_rotation
from own_smtp.relays.dry_runs import SETTINGS_FIELD
from own_smtp.relays.store import PASSWORD_FIELD, load_profile
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import Invitation, Relay, RelayTest, Shortened
from tests.cli.test_commands import read, run
from tests.engine import TENANT, Platform
from tests.scripted import ScriptedServer

OLD, NEW = generate_key("old"), generate_key("new")


def use_keys(platform: Platform, *keys: str) -> None:
    platform.own_smtp.vault = Vault.from_keys(keys)


def key_uses(platform: Platform) -> dict[str, int]:
    with platform.engine.connect() as connection:
        found = key_rotation.keys_in_use(connection, platform.own_smtp.vault)
    return {key.key_id: key.secrets for key in found.keys}


@pytest.fixture
def platform(migrated_url: str, tmp_path: Path) -> Iterator[Platform]:
    """A platform on each database in turn."""
    with Platform.at(migrated_url, tmp_path / "journal") as platform:
        yield platform


@pytest.fixture
def secrets(platform: Platform) -> Platform:
    """Three passwords and a test's settings under an old key; then a new key is put in front."""
    use_keys(platform, OLD)
    for number in range(3):
        platform.add_relay(password=f"word {number}", host="mail.acme.example", port=587)
    platform.add_relay(host="open.acme.example", port=25)
    typed = platform.own_smtp.vault.encrypt("typed", tenant_id=TENANT, field=SETTINGS_FIELD)
    with platform.app.app_context():
        session = platform.own_smtp.db.session()
        values: dict[str, Any] = {"tenant_id": TENANT, "requested_by": "alice", "host": "h", "port": 25}
        session.add_all([RelayTest(**values, settings=typed), RelayTest(**values, settings=None)])
        session.commit()
    use_keys(platform, NEW, OLD)
    return platform


def test_all_secrets_get_the_first_key(secrets: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small transactions, with the same plain texts, and without visible changes to the rows."""
    monkeypatch.setattr(key_rotation, "AT_A_TIME", 2)
    before = {row.id: (row.revision, row.updated_at) for row in secrets.rows(Relay)}
    assert key_uses(secrets) == {"new": 0, "old": 4}
    assert key_rotation.reencrypt(secrets.engine, secrets.own_smtp.vault) == 4
    assert key_uses(secrets) == {"new": 4, "old": 0}
    assert key_rotation.reencrypt(secrets.engine, secrets.own_smtp.vault) == 0
    use_keys(secrets, NEW)
    with secrets.engine.connect() as connection:
        profiles = [load_profile(connection, relay_id, secrets.own_smtp.vault) for relay_id in before]
        typed = connection.scalars(select(RelayTest.settings).where(RelayTest.settings.is_not(None))).one()
    assert [item and item.credentials and item.credentials.password for item in profiles] == [
        "word 0",
        "word 1",
        "word 2",
        None,
    ]
    assert secrets.own_smtp.vault.decrypt(typed or "", tenant_id=TENANT, field=SETTINGS_FIELD) == "typed"
    assert {row.id: (row.revision, row.updated_at) for row in secrets.rows(Relay)} == before


def test_the_commands_say_which_key_is_still_needed(secrets: Platform) -> None:
    """`keys` lists each key, `status` has a line; after --reencrypt the old key can be removed, and both are silent."""
    code, found = read(secrets, "keys")
    assert (code, found["old"], found["lost"], found["reencrypted"]) == (0, 4, 0, 0)
    assert "old: still needed for 4 secrets." in run(secrets, "keys").output
    assert "Secrets with an old key: 4" in run(secrets, "status").output
    assert read(secrets, "status")[1]["secrets"] == {"old_key": 4, "lost": 0}
    output = run(secrets, "keys", "--reencrypt").output
    assert "4 secrets re-encrypted." in output
    assert "old: no secret needs it: it can be removed" in output
    assert "old key" not in run(secrets, "status").output
    use_keys(secrets, NEW)
    assert [key["key_id"] for key in read(secrets, "keys")[1]["keys"]] == ["new"]


def test_what_no_key_reads_is_counted_and_left_alone(secrets: Platform) -> None:
    """A missing key is named, damaged secrets are counted, and the exit code calls for action."""
    ids = [row.id for row in secrets.rows(Relay)]
    secrets.change(ids[0], password="never encrypted")
    other = Vault.from_keys([generate_key("old")]).encrypt("x", tenant_id=TENANT, field=PASSWORD_FIELD)
    secrets.change(ids[1], password=other)
    code, found = read(secrets, "keys", "--reencrypt")
    assert (code, found["reencrypted"], found["old"], found["damaged"], found["lost"]) == (1, 2, 1, 1, 1)
    assert [row.password for row in secrets.rows(Relay)][:2] == ["never encrypted", other]
    use_keys(secrets, NEW)
    result = run(secrets, "keys")
    assert result.exit_code == 1
    assert "old: NOT CONFIGURED, and 1 secret cannot be decrypted without it." in result.output
    assert "1 secret in a format that no key decrypts." in result.output


def test_a_password_that_changes_at_the_same_moment_stays(secrets: Platform) -> None:
    """A password typed between reading and writing is not overwritten."""
    vault, place = secrets.own_smtp.vault, key_rotation._Place(Relay, "password", PASSWORD_FIELD)
    with secrets.engine.begin() as connection:
        row = connection.execute(select(Relay.id, Relay.tenant_id, Relay.password.label("stored"))).first()
        assert row is not None
        typed = vault.encrypt("typed anew", tenant_id=TENANT, field=PASSWORD_FIELD)
        connection.execute(update(Relay).where(Relay.id == row.id).values(password=typed))
        assert key_rotation._renew(connection, vault, place, row) == 0
    assert secrets.rows(Relay)[0].password == typed


def test_hashes_of_shortened_recipients_need_their_key(secrets: Platform, scripted: ScriptedServer) -> None:
    """They cannot be made anew: the command warns before the key is removed."""
    assert "shortened" not in run(secrets, "keys").output
    secrets.send(secrets.add_relay(scripted), 1)
    with secrets.engine.begin() as connection:
        invitation = connection.scalars(select(func.max(Invitation.id))).one()
        connection.execute(Shortened.__table__.insert().values(invitation_id=invitation, digest="0" * 64))
    assert "only as long as that key stays" in run(secrets, "keys").output
    use_keys(secrets, NEW)
    assert "as long as that key" not in run(secrets, "keys").output.partition("NOT CONFIGURED")[0]
