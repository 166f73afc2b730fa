"""Forms as a person fills them in: fields found by their labels, buttons by their texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from demo.dom import Node

FIELDS = ("input", "select", "textarea")
BUTTONS = frozenset({"submit", "image"})

Thing = TypeVar("Thing")


class NotOnPageError(Exception):
    """The page lacks something that a person would look for. The text lists what there is."""


@dataclass(slots=True)
class Control:
    """One field and its current value."""

    name: str
    kind: str
    """The input's type, `select` or `textarea`."""
    label: str
    value: str
    is_on: bool = True
    """Whether it is sent; for a check box or a radio button, whether it is checked."""
    options: dict[str, str] = field(default_factory=dict)
    """A list's labels and their values."""
    file: tuple[str, bytes] | None = None
    """The name and content of an attached file."""


@dataclass(slots=True)
class Button:
    """A button."""

    text: str
    name: str
    value: str
    action: str
    method: str


class Form:
    """A form of a page."""

    def __init__(self, node: Node, page: Node) -> None:
        self.action = node.attributes.get("action", "")
        self.method = node.attributes.get("method", "get").lower()
        self.is_multipart = node.attributes.get("enctype", "") == "multipart/form-data"
        parts = list(_parts(node, page))
        self.controls = [_control(part, page) for part in parts if _is_field(part)]
        self.buttons = [self._button(part) for part in parts if _is_button(part)]

    def _button(self, node: Node) -> Button:
        text = node.text or node.attributes.get("value", "") or node.attributes.get("aria-label", "")
        return Button(
            text,
            node.attributes.get("name", ""),
            node.attributes.get("value", ""),
            node.attributes.get("formaction", self.action),
            node.attributes.get("formmethod", self.method).lower(),
        )

    def fill(self, label: str, value: str) -> None:
        """Type `value` into the text field, or select it in the list, with this label."""
        control = self.control(label)
        if control.options:
            control.value = control.options[pick(value, control.options, f"an option of “{control.label}”")]
        else:
            control.value = value

    def tick(self, label: str, is_on: bool = True) -> None:
        """Check a check box or a radio button."""
        control = self.control(label, "checkbox", "radio")
        if control.kind == "radio":
            for other in self.controls:
                other.is_on = other.is_on and not (other.kind == "radio" and other.name == control.name)
        control.is_on = is_on

    def attach(self, label: str, filename: str, content: bytes) -> None:
        """Select a file."""
        self.control(label, "file").file = (filename, content)

    def control(self, label: str, *kinds: str) -> Control:
        """Return the visible field with this label. Raises `NotOnPageError`."""
        visible = [c for c in self.controls if c.kind != "hidden" and (not kinds or c.kind in kinds)]
        return pick_one(label, [(c.label, c) for c in visible], "a field")

    def button(self, text: str) -> Button:
        """Return the button with this text. Raises `NotOnPageError`."""
        return pick_one(text, [(button.text, button) for button in self.buttons], "a button")

    def pairs(self, button: Button) -> list[tuple[str, str | tuple[str, bytes]]]:
        """Return the pairs that a browser would send when `button` is pressed, files as name and content."""
        sent: list[tuple[str, str | tuple[str, bytes]]] = [
            (control.name, control.file or ("", b"") if control.kind == "file" else control.value)
            for control in self.controls
            if control.is_on and control.name
        ]
        return [*sent, (button.name, button.value)] if button.name else sent


def pick_one(wanted: str, offered: Sequence[tuple[str, Thing]], what: str) -> Thing:
    """Return the one thing whose text equals `wanted`, or begins with it, or contains it: the first rule with a match.

    Raises `NotOnPageError` when there is no match, or more than one.
    """
    key = _folded(wanted)
    for fits in (str.__eq__, str.startswith, str.__contains__):
        found = [thing for words, thing in offered if fits(_folded(words), key)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotOnPageError(f"{what} “{wanted}” stands there {len(found)} times")
    there = ", ".join(f"“{words}”" for words, _thing in offered) or "nothing"
    raise NotOnPageError(f"{what} “{wanted}” is missing; there is {there}")


def pick(wanted: str, offered: Iterable[str], what: str) -> str:
    """Return the text in `offered` that matches `wanted`. Raises `NotOnPageError`."""
    return pick_one(wanted, [(words, words) for words in offered], what)


def _folded(words: str) -> str:
    return " ".join(words.split()).casefold()


def _parts(form: Node, page: Node) -> Iterator[Node]:
    identity = form.attributes.get("id")
    for node in page.find(*FIELDS, "button"):
        owner = node.attributes.get("form")
        if owner == identity if owner else form in node.ancestors():
            yield node


def _is_button(node: Node) -> bool:
    kind = node.attributes.get("type", "submit" if node.tag == "button" else "text").lower()
    return node.tag in {"button", "input"} and kind in BUTTONS


def _is_field(node: Node) -> bool:
    is_other_button = node.attributes.get("type", "").lower() in BUTTONS | {"button", "reset"}
    return node.tag in FIELDS and not is_other_button and "disabled" not in node.attributes


def _control(node: Node, page: Node) -> Control:
    kind = node.attributes.get("type", "text").lower() if node.tag == "input" else node.tag
    control = Control(node.attributes.get("name", ""), kind, _label(node, page), node.attributes.get("value", ""))
    if kind in {"checkbox", "radio"}:
        control.is_on = "checked" in node.attributes
        control.value = node.attributes.get("value", "on")
    elif kind == "textarea":
        control.value = node.raw_text.removeprefix("\n")
    elif kind == "select":
        _read_options(node, control)
    return control


def _read_options(node: Node, control: Control) -> None:
    options = [option for option in node.find("option") if "disabled" not in option.attributes]
    values = {option.text: option.attributes.get("value", option.text) for option in options}
    chosen = [option for option in options if "selected" in option.attributes] or options[:1]
    control.options = values
    control.value = values[chosen[0].text] if chosen else ""


def _label(node: Node, page: Node) -> str:
    identity = node.attributes.get("id")
    labels = [label.text for label in page.find("label") if identity and label.attributes.get("for") == identity]
    around = [label.text for label in node.ancestors() if label.tag == "label"]
    return (labels or around or [node.attributes.get("aria-label", "")])[0]
