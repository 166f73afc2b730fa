"""The settings under their former name, which stays: `own_smtp.settings` has them."""

from own_smtp.settings import Deadlines, Settings

__all__ = ["Deadlines", "Settings"]
