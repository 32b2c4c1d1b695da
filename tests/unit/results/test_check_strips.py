"""Strips are accepted only if they can be laid end to end: whole, checked, of the right rows and in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.results.test_checks import LEASE, START, STOP, Json, expected, refused, scene, write
from tests.unit.results.writer import KINDS, Scene, header_and_blob, packed


def stripped(**changes: Any) -> tuple[Scene, Json, bytes]:
    """A scene whose second row of tiles, 4 to 7, is sent as strips, with its header and blob."""
    of = scene(kinds=KINDS, scale=4, **changes)
    return of, *header_and_blob(of, LEASE, START, STOP)


def _other_row(header: Json) -> None:
    header["rows"][0]["row"] = 2


def _no_rows(header: Json) -> None:
    header["rows"] = []


def _twice(header: Json) -> None:
    header["rows"][0]["strips"] *= 2


def _shifted(header: Json) -> None:
    header["rows"][0]["strips"][0][0] += 1


def _other_adler(header: Json) -> None:
    header["rows"][0]["strips"][0][2] ^= 1


def _short_strip(header: Json) -> None:
    header["rows"][0]["strips"][0].pop()


def _no_list(header: Json) -> None:
    header["rows"] = {}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_other_row, "strips for the rows [2], which are not all whole"),
        (_no_rows, "tile 4: png is missing"),
        (_twice, "row 1: there are 2 strips instead of 1"),
        (_shifted, "row 1: a strip starts at"),
        (_other_adler, "row 1: strip 0 inflates to something else"),
        (_short_strip, "row 1: strip 0 is not [offset, length, adler]"),
        (_no_list, "rows that are no list"),
    ],
)
def test_wrong_strips_in_the_header_are_refused(tmp_path: Path, edit: Callable[[Json], None], said: str) -> None:
    of, header, blob = stripped()
    edit(header)
    assert said in refused(write(tmp_path / "b", packed(header, blob)), expected(of))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [(20, 0x55, "wrong checksum"), (4, 0x55, "where only IDAT may stand"), (-1, 0x55, "wrong checksum")],
)
def test_a_damaged_strip_is_refused(tmp_path: Path, place: int, value: int, said: str) -> None:
    of, header, blob = stripped()
    offset, length, _ = header["rows"][0]["strips"][0]
    data = bytearray(blob)
    data[offset + place % length] ^= value
    found = refused(write(tmp_path / "b", packed(header, bytes(data))), expected(of))
    assert "row 1: strip 0" in found
    assert said in found


def test_tiles_of_a_whole_row_do_not_come_twice(tmp_path: Path) -> None:
    of, header, blob = stripped()
    header["tiles"][0]["png"] = [0, 10]
    assert "tile 4: png was not asked for" in refused(write(tmp_path / "b", packed(header, blob)), expected(of))
