"""A host's content becomes octets by RFC 5322: checked once, compiled once a batch, composed once a recipient.

Ask it to check a content (`compiler.compile_content`, which raises `own_smtp.errors.ContentError`), to render one
recipient's message, and to store a content and read it back (`contents`).

It does no input or output and reads no clock: the same values give the same octets, in every attempt. `__all__` names
the modules that other rooms may import.
"""

__all__ = [
    "compiler",
    "contents",
]
