"""Secrets at rest: encrypted with named, replaceable keys, bound to their tenant and field; and random tokens.

An encrypted value is the text `v1:<key id>:<nonce and ciphertext in URL-safe base64>`, made with AES-256-GCM. Tenant
and field are authenticated with it: a value copied to another tenant's row, or to another field, does not decrypt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from own_smtp.errors import ConfigurationError, SecretError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
TOKEN_BYTES = 32
DEVELOPMENT_KEY_ID = "development"

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,40}")
_VERSION = "v1"
_HOW = "Make one with `flask own-smtp make-key` and set it in OWN_SMTP_ENCRYPTION_KEYS."


class Vault:
    """Encrypts with its first key, and decrypts with all of them. `repr` shows the keys' ids only."""

    def __init__(self, keys: dict[str, AESGCM], digest_keys: Sequence[bytes]) -> None:
        self._keys = keys
        self._digest_keys = tuple(digest_keys)
        self._first = next(iter(keys))

    def __repr__(self) -> str:
        return f"<Vault with keys {', '.join(self._keys)}>"

    @classmethod
    def from_keys(cls, keys: Sequence[str]) -> Vault:
        """Parse keys in the form of `generate_key`. Raises `ConfigurationError`, which never shows a key."""
        if not keys:
            raise ConfigurationError(f"There is no key to encrypt stored passwords with. {_HOW}")
        parsed: dict[str, AESGCM] = {}
        digest_keys: list[bytes] = []
        for number, key in enumerate(keys, start=1):
            key_id, raw = _parse_key(number, key)
            if key_id in parsed:
                raise ConfigurationError(f"Two encryption keys have the id {key_id!r}. Each needs an id of its own.")
            parsed[key_id] = AESGCM(raw)
            digest_keys.append(_derive(raw, b"own-smtp digest key"))
        return cls(parsed, digest_keys)

    def encrypt(self, plain: str, *, tenant_id: str, field: str) -> str:
        """Encrypt for one field of one tenant. The same text never gives the same result twice."""
        nonce = os.urandom(NONCE_BYTES)
        bound_to = _associated(self._first, tenant_id, field)
        sealed = self._keys[self._first].encrypt(nonce, plain.encode("utf-8", "surrogatepass"), bound_to)
        return f"{_VERSION}:{self._first}:{_to_base64(nonce + sealed)}"

    def decrypt(self, stored: str, *, tenant_id: str, field: str) -> str:
        """Decrypt a value of this field of this tenant. Raises `SecretError`, which says what to do."""
        key_id, sealed = _parse_stored(stored)
        cipher = self._keys.get(key_id)
        if cipher is None:
            raise SecretError(
                f"The key {key_id!r} that a stored secret ({field}) was encrypted with is not configured. "
                "Put it back into OWN_SMTP_ENCRYPTION_KEYS, or have the secret entered again."
            )
        bound_to = _associated(key_id, tenant_id, field)
        try:
            plain = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
        except InvalidTag as error:
            raise SecretError(
                f"A stored secret does not belong here ({field}), was changed, or was encrypted with another key of "
                f"the id {key_id!r}. Check OWN_SMTP_ENCRYPTION_KEYS, or have the secret entered again."
            ) from error
        return plain.decode("utf-8", "surrogatepass")

    def digests(self, text: str, *, tenant_id: str) -> list[str]:
        """Return keyed hashes (HMAC-SHA-256, in hex) by which a text can be found that is not stored itself.

        One for each key: store the first, search for all. They reveal nothing without the keys, and hashes of the same
        text differ between tenants.
        """
        message = json.dumps(["own-smtp", tenant_id, text]).encode()
        return [hmac.new(key, message, hashlib.sha256).hexdigest() for key in self._digest_keys]

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of its keys; the first encrypts."""
        return tuple(self._keys)

    def needs_rotation(self, stored: str) -> bool:
        """Return whether this was encrypted with another key than the first. Raises `SecretError` for other texts."""
        return key_id_of(stored) != self._first


def key_id_of(stored: str) -> str:
    """Return the id of the key that encrypted this. Raises `SecretError` for a text that is not encrypted."""
    return _parse_stored(stored)[0]


def generate_key(key_id: str | None = None) -> str:
    """Return a new key with its id, for OWN_SMTP_ENCRYPTION_KEYS. `None` chooses a random id."""
    key_id = secrets.token_hex(4) if key_id is None else key_id
    if not _KEY_ID.fullmatch(key_id):
        raise ConfigurationError(
            f"{key_id!r} cannot be a key's id: 1 to 40 letters, digits, dots, dashes, underscores."
        )
    return f"{key_id}:{_to_base64(os.urandom(KEY_BYTES))}"


def derive_development_key(secret_key: str) -> str:
    """Return a key derived from Flask's `SECRET_KEY`, for applications in debug or testing mode only."""
    return f"{DEVELOPMENT_KEY_ID}:{_to_base64(_derive(secret_key.encode(), b'own-smtp development key'))}"


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def new_token() -> str:
    """Return 256 random bits as URL-safe text, for a confirmation link."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token, in hex, which is stored in its place.

    Tokens are looked up by this hash. The time of a look-up reveals nothing about other tokens, so no constant-time
    comparison is needed; and 256 random bits need no salt.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _parse_key(number: int, key: str) -> tuple[str, bytes]:
    key_id, _, text = key.partition(":")
    if not _KEY_ID.fullmatch(key_id) or not text:
        raise ConfigurationError(f"Encryption key {number} does not look like `id:key`. {_HOW}")
    try:
        return key_id, _checked(_from_base64(text))
    except ValueError as error:
        raise ConfigurationError(
            f"The encryption key {key_id!r} is not {KEY_BYTES} bytes in URL-safe base64. {_HOW}"
        ) from error


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError("another size")
    return key


def _parse_stored(stored: str) -> tuple[str, bytes]:
    """Return the key's id, and nonce and ciphertext."""
    version, _, rest = stored.partition(":")
    key_id, _, text = rest.partition(":")
    try:
        if version != _VERSION or not _KEY_ID.fullmatch(key_id):
            raise ValueError("another form")
        sealed = _from_base64(text)
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise ValueError("too short")
    except ValueError as error:
        raise SecretError("A stored secret has an unknown format. Have it entered again.") from error
    return key_id, sealed


def _associated(key_id: str, tenant_id: str, field: str) -> bytes:
    # JSON, so that different lists of texts never give the same bytes.
    return json.dumps(["own-smtp", _VERSION, key_id, tenant_id, field]).encode()


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    """Decode the exact result of `_to_base64`; only the padding may be missing. Raises `ValueError`."""
    padded = text + "=" * (-len(text) % 4)
    try:
        data = base64.urlsafe_b64decode(padded)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    # The decoder ignores foreign characters and unused bits: changes of a value would go unnoticed.
    if _to_base64(data) != padded:
        raise ValueError("not what was encoded")
    return data
