"""A mail server of its own that takes everything and writes down for whom, in a file that outlives its death.

A recipient stands in the file before the 250 is sent: whoever was told that a message is accepted finds it there.
"""

import sys
from collections import Counter
from pathlib import Path

from tests.servers.process import Server


class CountingServer(Server):
    """The server process. `kill` and `start` it as often as you like: what was accepted stays on record."""

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
