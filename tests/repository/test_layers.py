"""The shape of the code, as far as no tool checks it. import-linter checks the layers in `make lint`."""

import ast
from pathlib import Path
from statistics import median, quantiles

import own_smtp

PACKAGE = Path(own_smtp.__file__).parent


def function_lengths() -> dict[str, int]:
    """Return the number of lines of each function and method of the package."""
    lengths = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                name = f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
                lengths[name] = node.end_lineno - node.lineno + 1
    return lengths


def test_functions_do_one_thing() -> None:
    """No function is longer than a screen, nine of ten are under half of one, and half are eight lines or fewer."""
    lengths = function_lengths()
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert median(lengths.values()) <= 8
    assert quantiles(lengths.values(), n=10)[-1] < 30
