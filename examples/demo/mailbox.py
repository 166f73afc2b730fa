"""A client of the catch-all's inbox."""

from __future__ import annotations

import json

from demo.browser import Browser
from demo.checks import Mail


class Mailbox:
    """Reads received mail over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._browser = Browser()

    def mails(self) -> list[Mail]:
        """Return all messages, newest first. Raises `BrowsingError` when the inbox does not reply."""
        answer = json.loads(self._browser.read(f"{self._url}/api/messages"))
        return [
            Mail(tuple(item["recipients"]), tuple(item["shown_to"]), item["message_id"], item["text"])
            for item in answer["messages"]
        ]
