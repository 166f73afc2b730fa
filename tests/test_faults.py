"""The drain's fault table: what a fault leaves in the database, and how many copies at the server."""

from tests.engine import recipients_of


def test_invitations_arrive_once_each(platform, scripted):
    """A drain delivers what is due and leaves nothing behind."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 3)
    platform.drain(relay)
    assert platform.states() == {"accepted": 3}
    assert recipients_of(scripted.copies) == ["user1@example.org", "user2@example.org", "user3@example.org"]
