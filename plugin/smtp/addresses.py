"""Addresses of recipients and senders: checked without network access, and normalised for the envelope.

An address is `local@domain` (RFC 5321, 4.1.2). Quoted local parts, address literals, comments and display names are
refused: such addresses are very rare, and parsers disagree about where their domain begins (CVE-2023-27043).
"""

from __future__ import annotations

import re

from email_validator import EmailNotValidError, validate_email

from own_smtp.errors import AddressError

LONGEST_LOCAL = 64
LONGEST_ADDRESS = 254
"""In octets: a path of 256 less its angle brackets (RFC 5321, 4.5.3.1)."""

# One web request may check a hundred thousand addresses, and email-validator needs 40 µs for each. This pattern accepts
# a subset of what email-validator accepts: a dot-atom, and a domain of several labels, none of them an A-label.
# The group of atoms is not possessive: Python 3.11.2 then keeps half of a repetition that failed (cpython #106052).
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LABEL = r"(?!..--)[A-Za-z0-9](?>[A-Za-z0-9-]{0,61})(?<!-)"
_PLAIN = re.compile(rf"(?=[^@]{{1,{LONGEST_LOCAL}}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?=[A-Za-z]){_LABEL}")


def parse_address(text: str) -> str:
    """Return the address in its normal form: no white space around it, the domain in lower-case ASCII (A-labels).

    The local part keeps its case and may hold non-ASCII characters (see `needs_smtputf8`). Raises `AddressError`,
    whose text names the problem and may be shown to people.
    """
    if not isinstance(text, str):
        raise AddressError("The address is not text.")
    text = text.strip()
    if len(text) <= LONGEST_ADDRESS and _PLAIN.fullmatch(text):
        return text if text.islower() else _lower_domain(text)
    return _parse_unusual(text)


def needs_smtputf8(address: str) -> bool:
    """Return whether only servers that offer SMTPUTF8 (RFC 6531) can deliver to a parsed address."""
    return not address.isascii()


def domain_of(address: str) -> str:
    """Return the domain of a parsed address."""
    return address.rpartition("@")[2]


def _lower_domain(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.lower()}"


def _parse_unusual(text: str) -> str:
    if not text:
        raise AddressError("The address is empty.")
    if len(text) > 4 * LONGEST_ADDRESS:
        raise AddressError("The address is too long.")
    try:
        # Tenants' servers also deliver to internal domains, such as `corp.local`.
        parts = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise AddressError(str(error)) from error
    domain = parts.ascii_domain.lower()
    if "." not in domain or domain.rpartition(".")[2].isdigit():
        raise AddressError("The part after the @-sign is not a domain such as example.org.")
    # email-validator turns `POSTMASTER` into `postmaster`; only the recipient's server may interpret a local part.
    local = text.rpartition("@")[0] if parts.ascii_local_part else parts.local_part
    return _within_limits(local, domain)


def _within_limits(local: str, domain: str) -> str:
    address = f"{local}@{domain}"
    if len(local.encode()) > LONGEST_LOCAL:
        raise AddressError(f"The part before the @-sign is longer than {LONGEST_LOCAL} octets.")
    if len(address.encode()) > LONGEST_ADDRESS:
        raise AddressError(f"The address is longer than {LONGEST_ADDRESS} octets.")
    return address
