"""A page as a tree, parsed with the standard library: enough to find the content that a person sees."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
UNSEEN = frozenset({"script", "style", "template", "head"})


class Node:
    """One element with its attributes and content."""

    __slots__ = ("attributes", "children", "parent", "tag")

    def __init__(self, tag: str, attributes: dict[str, str], parent: Node | None = None) -> None:
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Node | str] = []

    def walk(self) -> Iterator[Node]:
        """Yield this element and all its descendants, in document order."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find(self, *tags: str) -> Iterator[Node]:
        """Yield the descendants with these tags."""
        return (node for node in self.walk() if node.tag in tags and node is not self)

    def ancestors(self) -> Iterator[Node]:
        """Yield the enclosing elements, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    @property
    def text(self) -> str:
        """The visible text, with single spaces."""
        return " ".join("".join(self._pieces()).split())

    @property
    def raw_text(self) -> str:
        """The unchanged text, as in a textarea."""
        return "".join(child if isinstance(child, str) else child.raw_text for child in self.children)

    def _pieces(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            elif child.tag not in UNSEEN and "hidden" not in child.attributes:
                yield " "
                yield from child._pieces()
                yield " "


class _TreeBuilder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("#document", {})
        self._at = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs}, self._at)
        self._at.children.append(node)
        if tag not in VOID:
            self._at = node

    def handle_endtag(self, tag: str) -> None:
        for node in (self._at, *self._at.ancestors()):
            if node.tag == tag and node.parent is not None:
                self._at = node.parent
                return

    def handle_data(self, data: str) -> None:
        self._at.children.append(data)


def parse_html(text: str) -> Node:
    """Return the root of the page's tree."""
    builder = _TreeBuilder()
    builder.feed(text)
    builder.close()
    return builder.root
