"""Messages on the wire: as few round trips as the server's extensions allow, and no reply taken for another's.

With PIPELINING (RFC 2920) the envelope of the next message travels in the group that ends the present one: one round
trip a message. With CHUNKING (RFC 3030) and a window above 1, whole messages travel before the first is answered.
Without either, each command waits for its reply (RFC 5321).
"""

from __future__ import annotations

from own_smtp.smtp.session import Session
from own_smtp.smtp.transfer.base import Exchange, Supply
from own_smtp.smtp.transfer.bdat import Chunked
from own_smtp.smtp.transfer.data import Plain

__all__ = ["Supply", "deliver"]


async def deliver(session: Session, supply: Supply, *, window: int = 1, most: int | None = None) -> None:
    """Send what `supply` gives until it gives no more, `most` messages were sent, or the conversation is over.

    When this returns, every message that was taken is ended or given back. When it raises (what the supply raised, or
    because it was cancelled), the connection is closed and the supply still has what was neither.
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
