"""Converts an HTML mail to text, for readers that show no HTML: words, lines, lists and the targets of links.

It finds tags as browsers do (WHATWG HTML, 13.2.5), in one pass: the standard library's parser takes time with the
square of unclosed input (CVE-2025-6069) in all versions of Python before 3.13.6. Libraries for this purpose write
Markdown, which changes placeholders, or need parsers in C; a mail needs no layout of tables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape

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


# A comment, a declaration or a tag. None of them can fail behind its beginning, so nothing is read twice: what is not
# closed reaches to the end. In a tag quotes count behind an equals sign only.
_MARKUP = re.compile(
    r"""<!--.*?(?:-->|\Z) | <[!?][^>]*(?:>|\Z)
    | <(?P<end>/?)(?P<name>[a-z][^\s/>]*)(?P<given>(?>[^>"'=]+|=\s*(?:"[^"]*"|'[^']*')?|["'])*)(?P<close>>|\Z)""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""([^\s/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s]*)))?""")
_RAW = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "textarea", "title")}
"""Elements whose content is not HTML, up to their end tag."""


def _read(html: str) -> _Reader:
    reader, place = _Reader(), 0
    while match := _MARKUP.search(html, place):
        reader.handle_data(unescape(html[place : match.start()]))
        place = match.end()
        name = (match["name"] or "").lower()
        if not match["close"]:
            continue  # no tag, or an unclosed one, which browsers don't show
        if match["end"]:
            reader.handle_endtag(name)
            continue
        reader.handle_starttag(name, dict(_attributes(match["given"])))
        if name in _RAW:
            end = _RAW[name].search(html, place)
            reader.handle_data(html[place : end.start() if end else len(html)])
            place = end.start() if end else len(html)
    reader.handle_data(unescape(html[place:]))
    return reader


def _attributes(given: str) -> Iterator[tuple[str, str]]:
    for name, *values in _ATTRIBUTE.findall(given):
        yield name.lower(), unescape("".join(values))


class _Reader:
    """Collects text. Never raises: invalid HTML is treated as text."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.has_picture = False
        self._hidden: Counter[str] = Counter()
        self._link: tuple[str, int] | None = None

    def handle_starttag(self, tag: str, given: dict[str, str]) -> None:
        if tag in _HIDDEN:
            self._hidden[tag] += 1
        elif tag == "a":
            self._end_link()  # links cannot be nested
            self._link = given.get("href", "").strip(), len(self.pieces)
        elif tag == "img":
            self.has_picture = True
            self._add(given.get("alt", ""))
        elif tag == "br":
            self._add("\n")
        else:
            self._break(tag)
            if tag == "li":
                self._add("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden[tag] -= self._hidden[tag] > 0
        elif tag == "a":
            self._end_link()
        else:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        words = _BLANK.sub(" ", data)
        if words.startswith(" ") and (not self.pieces or self.pieces[-1].endswith((" ", "\n"))):
            words = words[1:]
        self._add(words)

    def _add(self, text: str) -> None:
        if text and not any(self._hidden.values()):
            self.pieces.append(text)

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._add("\n\n")
        elif tag in _LINES:
            if self.pieces and not self.pieces[-1].endswith("\n"):
                self._add("\n")
        elif tag in _CELLS and self.pieces and not self.pieces[-1].endswith((" ", "\n")):
            self._add(" ")

    def _end_link(self) -> None:
        if self._link is None:
            return
        (target, start), self._link = self._link, None
        words = "".join(self.pieces[start:]).strip(_SPACE)
        if target and not target.startswith("#") and target not in {words, f"mailto:{words}"}:
            self._add(f" <{target}>" if words else f"<{target}>")
