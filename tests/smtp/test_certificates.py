"""Certificates in the form that people compare."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.certificates import Certificate, spelt
from tests.scripted.certificates import BrokenCertificate

WARNING = timedelta(days=14)
BROKEN = BrokenCertificate()
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def good(test_authority) -> Certificate:
    pem = test_authority.certificate_pem().decode()
    start = pem.index("-----BEGIN CERTIFICATE")
    end = pem.index("-----END CERTIFICATE-----", start) + len("-----END CERTIFICATE-----")
    return Certificate.from_der(ssl.PEM_cert_to_DER_cert(pem[start:end]))


def ending(moment: datetime | None) -> Certificate:
    return Certificate(fingerprint="ab" * 32, ends_at=moment)


def test_a_certificate_has_subject_issuer_and_names(good, test_authority):
    """Subject, issuer, names and fingerprint equal those in the server's own tools."""
    assert good.fingerprint == test_authority.fingerprint()
    assert {"localhost", "127.0.0.1"} <= set(good.names)
    assert "trustme" in good.issuer
    assert good.starts_at < good.ends_at


def test_json_restores_a_certificate(good):
    """The stored form restores an equal certificate."""
    assert Certificate.from_json(good.as_json()) == good


def test_rubbish_still_has_a_fingerprint():
    """An unreadable certificate does not break the connection test."""
    found = Certificate.from_der(b"no certificate")
    assert (len(found.fingerprint), found.subject, found.ends_at) == (64, "", None)
    assert Certificate.from_json(found.as_json()) == found


def test_an_invalid_certificate_is_read_as_far_as_possible():
    """A duplicate extension hides the names, and nothing else."""
    broken = BrokenCertificate()
    found = Certificate.from_der(broken.der)
    assert (found.fingerprint, found.subject, found.names) == (broken.fingerprint, "CN=twice.example.test", ())
    assert found.ends_at is not None
    assert Certificate.from_json(found.as_json()) == found


@given(st.binary(max_size=2000), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_no_certificate_raises(rubbish, position, change):
    """Every certificate gives a fingerprint, whatever its content."""
    der = BROKEN.der
    changed = der[: position % len(der)] + change + der[position % len(der) + len(change) :]
    for data in (rubbish, changed, der + rubbish):
        assert len(Certificate.from_der(data).fingerprint) == 64


@pytest.mark.parametrize(
    ("ends_at", "days"),
    [
        (NOW + WARNING + timedelta(seconds=1), None),
        (NOW + WARNING, 14),
        (NOW + timedelta(hours=30), 1),
        (NOW + timedelta(hours=3), 0),
        (NOW, None),
        (None, None),
    ],
)
def test_the_expiry_is_announced_fourteen_days_ahead(ends_at, days):
    """Not earlier, and not after the expiry, which has a text of its own."""
    assert ending(ends_at).days_left(NOW, WARNING) == days


def test_a_certificate_expires_at_its_last_second():
    """A certificate counts as expired from its last second on."""
    assert ending(NOW).is_over(NOW)
    assert not ending(NOW + timedelta(seconds=1)).is_over(NOW)
    assert not ending(None).is_over(NOW)


def test_a_fingerprint_is_spelt_as_other_programs_do():
    """Pairs with colons, in capitals, as in other programs."""
    assert spelt("0aff") == "0A:FF"
