"""Functions and files stay short enough to be read at a glance (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

MOST_LINES_OF_A_FUNCTION = 40
MOST_LINES_OF_A_FILE = 400
ROOT = Path(__file__).parents[2]
FOLDERS = ("rrm", "renderers", "deployment", "benchmarks", "tests")
# Django writes these.
FILES = [path for name in FOLDERS for path in sorted((ROOT / name).rglob("*.py")) if path.parent.name != "migrations"]


def too_long(source: str) -> Iterator[str]:
    """What is longer than it may be, with its length; a function with its documentation and without its decorators."""
    lines = source.splitlines()
    if (length := len(lines)) > MOST_LINES_OF_A_FILE:
        yield f"the file: {length} lines"
    nodes = ast.walk(ast.parse(source))
    for function in (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        if (length := len(lines[function.lineno - 1 : function.end_lineno])) > MOST_LINES_OF_A_FUNCTION:
            yield f"{function.name} in line {function.lineno}: {length} lines"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_and_no_file_is_too_long(folder: str) -> None:
    files = [path for path in FILES if path.is_relative_to(ROOT / folder)]
    found = [f"{path.relative_to(ROOT)}: {what}" for path in files for what in too_long(path.read_text())]
    assert files
    assert not found


def test_what_is_too_long_is_found() -> None:
    body = "    pass\n" * MOST_LINES_OF_A_FUNCTION
    assert list(too_long("def short():\n    pass\n")) == []
    assert list(too_long(f"class A:\n  async def long():\n  {body.replace(chr(10), chr(10) + '  ')}\n")) == [
        f"long in line 2: {MOST_LINES_OF_A_FUNCTION + 1} lines"
    ]
    assert list(too_long("pass\n" * (MOST_LINES_OF_A_FILE + 1))) == [f"the file: {MOST_LINES_OF_A_FILE + 1} lines"]
