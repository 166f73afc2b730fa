"""The commands and the text of one message as bytes, and the reasons why a server can never accept it."""

from __future__ import annotations

import re

from own_smtp.smtp.addresses import needs_smtputf8
from own_smtp.smtp.capabilities import Capabilities
from own_smtp.smtp.values import Envelope

RSET = b"RSET\r\n"
DATA = b"DATA\r\n"
DOT = b".\r\n"
_LINE_WITH_DOT = re.compile(rb"\n\.")


def why_impossible(envelope: Envelope, capabilities: Capabilities) -> str | None:
    """Return why this server can never accept the message, or `None` if it may."""
    size = len(envelope.data)
    if capabilities.max_size is not None and size > capabilities.max_size:
        return f"The message has {size} octets, the server accepts {capabilities.max_size}."
    if not capabilities.smtputf8 and _is_international(envelope):
        return "An address has non-ASCII characters before the @, and the server does not offer SMTPUTF8."
    if not capabilities.eight_bit and not envelope.data.isascii():
        return "The message has non-ASCII octets, and the server does not offer 8BITMIME."
    if not (envelope.sender.isprintable() and envelope.recipient.isprintable()):
        return "An address has characters that are not allowed in an address."
    return None


def _is_international(envelope: Envelope) -> bool:
    """Whether an address or a header field needs SMTPUTF8, such as a non-ASCII Reply-To (RFC 6531, 3.4)."""
    if needs_smtputf8(envelope.recipient) or needs_smtputf8(envelope.sender):
        return True
    data = envelope.data
    return not data.isascii() and not data[: data.find(b"\r\n\r\n")].isascii()


def mail_command(envelope: Envelope, capabilities: Capabilities) -> bytes:
    """Return MAIL with the parameters of the extensions that the server offers."""
    command = f"MAIL FROM:<{envelope.sender}>"
    if capabilities.sized:
        command += f" SIZE={len(envelope.data)}"
    if capabilities.eight_bit and not envelope.data.isascii():
        command += " BODY=8BITMIME"
    if capabilities.smtputf8 and _is_international(envelope):
        command += " SMTPUTF8"
    if capabilities.dsn and envelope.envelope_id:
        command += f" RET=HDRS ENVID={xtext(envelope.envelope_id)}"
    return f"{command}\r\n".encode()


def rcpt_command(envelope: Envelope, capabilities: Capabilities) -> bytes:
    """Return RCPT, requesting DSNs for failures and delays where the server offers DSN (RFC 3461, 4.1 and 4.2)."""
    recipient = envelope.recipient
    if capabilities.dsn and envelope.envelope_id and recipient.isascii():
        return f"RCPT TO:<{recipient}> NOTIFY=FAILURE,DELAY ORCPT=rfc822;{xtext(recipient)}\r\n".encode()
    return f"RCPT TO:<{recipient}>\r\n".encode()


def bdat_command(envelope: Envelope) -> bytes:
    """Return BDAT for the message as one chunk (RFC 3030, 2)."""
    return b"BDAT %d LAST\r\n" % len(envelope.data)


_NEEDS_NO_XTEXT = re.compile(r"[!-*,-<>-~]*")


def xtext(text: str) -> str:
    """Encode ASCII for a DSN parameter (RFC 3461, 4)."""
    if _NEEDS_NO_XTEXT.fullmatch(text):
        return text
    return "".join(sign if "!" <= sign <= "~" and sign not in "+=" else f"+{ord(sign):02X}" for sign in text)


def dot_stuffed(data: bytes) -> bytes:
    """Double the dot of each line that begins with one (RFC 5321, 4.5.2)."""
    if data.startswith(b"."):
        data = b"." + data
    return data if _LINE_WITH_DOT.search(data) is None else data.replace(b"\r\n.", b"\r\n..")
