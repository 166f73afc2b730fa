"""Encryption at rest, its keys, and tokens."""

from __future__ import annotations

import base64
import re
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.errors import ConfigurationError, SecretError
from own_smtp.storage.encryption import Vault, derive_development_key, generate_key, hash_token, new_token

OLD, NEW = generate_key("2024"), generate_key("2025")
VAULT = Vault.from_keys([NEW])
HERE = {"tenant_id": "acme", "field": "relay.password"}


@given(st.text() | st.text(alphabet=st.characters()), st.text(), st.text())
def test_any_text_comes_back(plain, tenant_id, field):
    """A text that is encrypted for a tenant and field decrypts there."""
    stored = VAULT.encrypt(plain, tenant_id=tenant_id, field=field)
    assert VAULT.decrypt(stored, tenant_id=tenant_id, field=field) == plain
    assert re.fullmatch(r"v1:2025:[A-Za-z0-9_=-]+", stored)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_a_secret_stays_with_its_tenant_and_field(here, there):
    """A value copied to another tenant or field does not decrypt, wherever the names are split."""
    stored = VAULT.encrypt("geheim", tenant_id=here[0], field=here[1])
    if here != there:
        with pytest.raises(SecretError, match="does not belong here"):
            VAULT.decrypt(stored, tenant_id=there[0], field=there[1])


def test_names_are_not_run_together():
    """Tenant `ab` with field `c` is not tenant `a` with field `bc`."""
    stored = VAULT.encrypt("geheim", tenant_id="ab", field="c")
    with pytest.raises(SecretError):
        VAULT.decrypt(stored, tenant_id="a", field="bc")


@given(st.text(max_size=20), st.data())
def test_any_change_is_found(plain, data):
    """With any bit of the stored text changed, it does not decrypt."""
    stored = VAULT.encrypt(plain, **HERE)
    place = data.draw(st.integers(0, len(stored) - 1))
    bit = data.draw(st.integers(0, 6))
    changed = stored[:place] + chr(ord(stored[place]) ^ 1 << bit) + stored[place + 1 :]
    with pytest.raises(SecretError):
        VAULT.decrypt(changed, **HERE)


@given(st.text())
def test_nonsense_raises_a_secret_error(stored):
    """A text that is not encrypted raises `SecretError`, and nothing else."""
    with pytest.raises(SecretError):
        VAULT.decrypt(stored, **HERE)
    with pytest.raises(SecretError):
        VAULT.decrypt(f"v1:2025:{stored}", **HERE)


def test_the_same_text_looks_different_each_time():
    """Equal passwords cannot be recognised as equal."""
    assert len({VAULT.encrypt("geheim", **HERE) for _ in range(100)}) == 100


def test_keys_can_be_changed():
    """The first key encrypts, all decrypt, and values of an older key are reported for rotation."""
    before, during, after = Vault.from_keys([OLD]), Vault.from_keys([NEW, OLD]), Vault.from_keys([NEW])
    stored = before.encrypt("geheim", **HERE)
    assert not before.needs_rotation(stored)
    assert during.needs_rotation(stored)
    again = during.encrypt(during.decrypt(stored, **HERE), **HERE)
    assert not during.needs_rotation(again)
    assert after.decrypt(again, **HERE) == "geheim"
    with pytest.raises(SecretError, match=r"The key '2024' .* is not configured.*OWN_SMTP_ENCRYPTION_KEYS"):
        after.decrypt(stored, **HERE)


def test_another_key_with_the_same_id_does_not_decrypt():
    """The error for a new key with an old id says what to check."""
    stored = Vault.from_keys([OLD]).encrypt("geheim", **HERE)
    with pytest.raises(SecretError, match="another key of the id '2024'"):
        Vault.from_keys([generate_key("2024")]).decrypt(stored, **HERE)


@pytest.mark.parametrize("stored", ["", "geheim", "v2:2025:AAAA", "v1:2025", "v1::AAAA", "v1:2025:", "v1:2025:AAAA"])
def test_a_value_of_another_form_is_refused(stored):
    """A value of another form, or one that is too short, is not a secret and cannot be rotated."""
    with pytest.raises(SecretError, match="form"):
        VAULT.decrypt(stored, **HERE)
    with pytest.raises(SecretError, match="form"):
        VAULT.needs_rotation(stored)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [""],
        ["2025"],
        ["2025:"],
        [":" + NEW.partition(":")[2]],
        [NEW.partition(":")[2]],
        ["20 25:" + NEW.partition(":")[2]],
        [NEW[:-2]],
        [NEW.replace(":", ":A", 1)],
        [NEW + "AAAA"],
        ["2025:" + base64.urlsafe_b64encode(b"short").decode()],
        [NEW[:20] + "*" + NEW[21:]],
        ["2025:\N{LATIN SMALL LETTER U WITH DIAERESIS}" + NEW[6:]],
        [OLD, "nonsense"],
    ],
)
def test_a_bad_key_stops_the_start_and_says_how_to_make_one(keys):
    """A missing or mistyped key is identified by its position or id, and not shown."""
    with pytest.raises(ConfigurationError, match="flask own-smtp make-key") as caught:
        Vault.from_keys(keys)
    shown = "".join(traceback.format_exception(caught.value))
    assert NEW[20:30] not in shown
    assert OLD[20:30] not in shown


def test_two_keys_need_two_ids():
    """With a duplicate id it would be ambiguous which key is meant."""
    with pytest.raises(ConfigurationError, match="'2025'"):
        Vault.from_keys([NEW, generate_key("2025")])


def test_padding_may_be_missing():
    """Some tools remove the equals signs."""
    assert Vault.from_keys([NEW.rstrip("=")]).decrypt(VAULT.encrypt("geheim", **HERE), **HERE) == "geheim"


def test_repr_shows_ids_only():
    """Neither `repr` nor the object's attributes show a key."""
    vault = Vault.from_keys([NEW, OLD])
    assert repr(vault) == "<Vault with keys 2025, 2024>"
    assert NEW.partition(":")[2] not in str(vars(vault))


def test_errors_hold_no_secret():
    """No message contains the plain text or the stored one."""
    stored = VAULT.encrypt("geheim", **HERE)
    with pytest.raises(SecretError) as caught:
        VAULT.decrypt(stored, tenant_id="other", field="relay.password")
    assert "geheim" not in str(caught.value)
    assert stored not in str(caught.value)


def test_a_made_key_is_usable():
    """`from_keys` accepts the results of `generate_key`, with a random id or a given one."""
    keys = [generate_key() for _ in range(20)]
    assert len({key.partition(":")[0] for key in keys}) == 20
    Vault.from_keys([*keys, generate_key("given")])
    with pytest.raises(ConfigurationError):
        generate_key("not: an id")


def test_a_development_key_is_the_same_each_time():
    """It depends only on `SECRET_KEY`, and differs for another one."""
    assert derive_development_key("a") == derive_development_key("a") != derive_development_key("b")
    Vault.from_keys([derive_development_key("\N{SNOWMAN}")])


def test_tokens_cannot_be_guessed():
    """At least 128 bits, safe in a URL, never the same."""
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)


@given(st.text(alphabet=st.characters()))
def test_any_token_can_be_hashed(token):
    """A token from a URL may be anything; its hash is 64 hex digits."""
    assert re.fullmatch(r"[0-9a-f]{64}", hash_token(token))


def test_the_hash_is_sha256():
    """Stored hashes stay valid as long as this is so."""
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
