"""An alias of `own_smtp.settings`, which keeps the documented import path."""

from own_smtp.settings import Deadlines, Settings

__all__ = ["Deadlines", "Settings"]
