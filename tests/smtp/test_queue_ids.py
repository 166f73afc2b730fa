"""The queue id in the reply that accepted a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.replies.queue_ids import queue_id


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Ok: queued as 9EFE470001", "9EFE470001"),  # Postfix, short ids
        ("Ok: queued as 4bXq1t2w3Hz1vY", "4bXq1t2w3Hz1vY"),  # Postfix, long ids
        ("OK id=10HmaX-0005vi-00", "10HmaX-0005vi-00"),  # Exim
        ("OK id=10HmaX-000000005vi-0000", "10HmaX-000000005vi-0000"),  # Exim since 4.97
        (
            "<6b36518e-14b1-6fac-dd27-c4c900aff87c@acme.example> [InternalId=23138874] Queued mail for delivery",
            "23138874",
        ),  # Exchange
        (
            "<k.7@acme.example> [InternalId=4294967296, Hostname=AM0PR02MB0001.example] Queued mail for delivery",
            "4294967296",
        ),  # Exchange Online
        ("OK 1534672190 g10-v6si7304311pfd.86 - gsmtp", "g10-v6si7304311pfd.86"),  # Gmail
        ("OK  1534672190 g10-v6si7304311pfd.86 - gsmtp", "g10-v6si7304311pfd.86"),
        (
            "Ok 0100018f2c3d4e5f-1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d-000000",
            "0100018f2c3d4e5f-1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d-000000",
        ),  # Amazon SES
        ("u7JEHV0X012345 Message accepted for delivery", "u7JEHV0X012345"),  # Sendmail
        ("queued as <abc.def@host>", "abc.def"),
        ("taken", None),
        ("Ok", None),
        ("OK", None),
        ("Queued mail for delivery", None),
        ("Message queued", None),
        ("", None),
    ],
)
def test_an_id_is_found_in_known_replies(words, found):
    """Postfix, Exim, Exchange, Gmail, Amazon and Sendmail; for other servers there is no guess."""
    assert queue_id(words) == found


@given(st.text(max_size=500))
def test_arbitrary_replies_raise_nothing(words):
    """For any text an id is a part of it, or there is none."""
    found = queue_id(words)
    assert found is None or found in words
