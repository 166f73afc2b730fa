"""The log format under the name by which logging configurations know it: `own_smtp.operations.json_logs` has it."""

from own_smtp.operations.json_logs import JSONFormatter

__all__ = ["JSONFormatter"]
