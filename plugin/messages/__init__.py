"""Turns a host's content into RFC 5322 messages: checked once, compiled once per batch, composed once per recipient.

`compiler.compile_content` compiles a content (it raises `own_smtp.errors.ContentError`) and renders one recipient's
message; `contents` stores a content and loads it again.

It does no input or output and reads no clock: the same values give the same octets, in every attempt. `__all__` names
the modules that other rooms may import.
"""

__all__ = [
    "compiler",
    "contents",
]
