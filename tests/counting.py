"""A mail server process that accepts everything and records recipients in a file that outlives it.

A recipient is recorded before the 250 is sent: every message that a client knows to be accepted is in the file.
"""

import sys
from collections import Counter
from pathlib import Path

from tests.servers.process import Server


class CountingServer(Server):
    """The server process. It can be killed and started repeatedly: its record stays."""

    host = "127.0.0.1"

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self.delay = delay
        self.accepted = self.folder / "accepted"
        self.accepted.touch()

    def command(self) -> list[str]:
        program = Path(__file__).with_name("counting_program.py")
        return [sys.executable, str(program), str(self.port), str(self.accepted), str(self.delay)]

    def copies(self) -> Counter[str]:
        """Count the copies of each recipient."""
        return Counter(self.accepted.read_text().split())
