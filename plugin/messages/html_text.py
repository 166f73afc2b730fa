"""Converts an HTML mail to text, for readers that show no HTML: words, lines, lists and the targets of links.

It uses the standard library's parser. Libraries for this purpose write Markdown, which changes placeholders, or need
parsers in C; a mail needs no layout of tables.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_HIDDEN = frozenset({"head", "script", "style", "template", "title"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_PARAGRAPHS = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "figure", "hr", "form"}
)
_LINES = frozenset(
    {
        "div",
        "li",
        "tr",
        "dt",
        "dd",
        "section",
        "article",
        "header",
        "footer",
        "main",
        "nav",
        "address",
        "center",
        "body",
    }
    | {"caption", "thead", "tbody", "tfoot", "fieldset", "option"}
)
_CELLS = frozenset({"td", "th"})
_BLANK = re.compile(r"[ \t\r\n\f]+")
_SPACE = " \t\r\n\f\u00a0\u200b\ufeff"
_MANY_LINES = re.compile(r"\n{3,}")
_AROUND_LINES = re.compile(r" *\n *")


def is_blank(text: str | None) -> bool:
    """Whether a text is missing, or contains only white space."""
    return text is None or not text.strip(_SPACE)


def shows_nothing(html: str | None) -> bool:
    """Whether HTML appears empty: neither words nor pictures."""
    if html is None or is_blank(html):
        return True
    reader = _read(html)
    return not reader.has_picture and is_blank("".join(reader.pieces))


def text_of(html: str) -> str:
    """Return the text of HTML, with a link's target behind its words. Placeholders stay as they are."""
    text = _AROUND_LINES.sub("\n", "".join(_read(html).pieces)).strip(_SPACE)
    return _MANY_LINES.sub("\n\n", text) + "\n"


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


class _Reader(HTMLParser):
    """Collects text. Never raises: invalid HTML is treated as text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.has_picture = False
        self._hidden: list[str] = []
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag == "a":
            self._links.append((given.get("href", ""), len(self.pieces)))
        elif tag == "img":
            self.has_picture = True
            self._add(given.get("alt", ""))
        elif tag == "br":
            self._add("\n")
        else:
            self._break(tag)
            if tag == "li":
                self._add("- ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # HTML ignores the slash; only void elements have no end tag

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            if tag in self._hidden:
                self._hidden.remove(tag)
        elif tag == "a" and self._links:
            self._end_link(*self._links.pop())
        else:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        words = _BLANK.sub(" ", data)
        if words.startswith(" ") and (not self.pieces or self.pieces[-1].endswith((" ", "\n"))):
            words = words[1:]
        self._add(words)

    def _add(self, text: str) -> None:
        if text and not self._hidden:
            self.pieces.append(text)

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._add("\n\n")
        elif tag in _LINES:
            if self.pieces and not self.pieces[-1].endswith("\n"):
                self._add("\n")
        elif tag in _CELLS and self.pieces and not self.pieces[-1].endswith((" ", "\n")):
            self._add(" ")

    def _end_link(self, target: str, start: int) -> None:
        words = "".join(self.pieces[start:]).strip(_SPACE)
        target = target.strip()
        if target and not target.startswith("#") and target not in {words, f"mailto:{words}"}:
            self._add(f" <{target}>" if words else f"<{target}>")
