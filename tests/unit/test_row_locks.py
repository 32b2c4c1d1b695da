"""Locks of rows leave the key alone: rows that refer to them can be inserted meanwhile, and wait for nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def locks_of_keys(source: str) -> Iterator[int]:
    """The lines where `select_for_update` is called without no_key=True. A row that is deleted is locked whole then."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "select_for_update":
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if given.get("no_key") != "True":
                yield call.lineno


def test_no_lock_is_for_the_key() -> None:
    sources = {path: path.read_text() for path in sorted((ROOT / "rrm").rglob("*.py"))}
    assert any("select_for_update" in source for source in sources.values())
    found = [f"{path.relative_to(ROOT)}:{line}" for path, source in sources.items() for line in locks_of_keys(source)]
    assert not found


def test_a_lock_of_the_key_is_found() -> None:
    good = "A.objects.select_for_update(of=('self',), no_key=True).get()"
    assert list(locks_of_keys(f"{good}\nA.objects.select_for_update().get()")) == [2]
    assert list(locks_of_keys("A.objects.select_for_update(no_key=False)")) == [1]
