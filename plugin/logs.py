"""An alias of `own_smtp.operations.json_logs`, which keeps the path used in logging configurations."""

from own_smtp.operations.json_logs import JSONFormatter

__all__ = ["JSONFormatter"]
