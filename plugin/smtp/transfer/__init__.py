"""Sends messages over a session in as few round trips as the server's extensions allow; replies are never mixed up.

With PIPELINING (RFC 2920) the envelope of the next message is sent in the group that ends the current one: one round
trip per message. With CHUNKING (RFC 3030) and a window above 1, several whole messages are sent before the first reply.
Without either, each command waits for its reply (RFC 5321).
"""

from __future__ import annotations

from own_smtp.smtp.session import Session
from own_smtp.smtp.transfer.base import Exchange, Supply
from own_smtp.smtp.transfer.bdat import Chunked
from own_smtp.smtp.transfer.data import Plain

__all__ = ["Supply", "deliver"]


async def deliver(session: Session, supply: Supply, *, window: int = 1, most: int | None = None) -> None:
    """Send messages from `supply` until it is empty, `most` messages were sent, or the session is over.

    When this returns, every message that was taken is ended or given back. When it raises (an error of the supply, or
    a cancellation), the connection is closed; messages that were neither are still the supply's to settle.
    """
    try:
        await _exchange(session, supply, window, most).run()
    except BaseException:
        session.drop()
        raise


def _exchange(session: Session, supply: Supply, window: int, most: int | None) -> Exchange:
    offered = session.capabilities
    if window > 1 and offered.chunking and offered.pipelining and not session.refuses_bdat:
        return Chunked(session, supply, most, window)
    return Plain(session, supply, most)
