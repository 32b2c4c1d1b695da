"""The named palettes, those of the library among them."""

from __future__ import annotations

import pytest

from rrm.domain.coloring import parse
from rrm.domain.palettes import PALETTES
from rrm.farm.colormaps import palettes


def test_the_palettes_that_ship_come_first() -> None:
    assert dict(list(palettes().items())[: len(PALETTES)]) == PALETTES


@pytest.mark.parametrize("name", palettes())
def test_every_palette_has_an_origin_and_can_be_ordered(name: str) -> None:
    palette = palettes()[name]
    assert palette.name == name
    assert palette.origin
    assert parse({"palette": name}, palettes())["interpolation"] == palette.interpolation
    assert parse({"palette": name, "repeat": "wrap"}, palettes())["stops"] == [list(stop) for stop in palette.stops]


def test_maps_have_their_colours_in_their_places() -> None:
    viridis = palettes()["viridis"]
    assert (viridis.stops[0], viridis.stops[-1]) == ((0.0, "#440154"), (1.0, "#fde725"))
    assert [position for position, _ in viridis.stops] == sorted(position for position, _ in viridis.stops)


@pytest.mark.parametrize(("name", "is_cyclic"), [("viridis", False), ("roma", False), ("romaO", True), ("phase", True)])
def test_cyclic_maps_end_where_they_began(name: str, is_cyclic: bool) -> None:
    palette = palettes()[name]
    first, last = (bytes.fromhex(palette.stops[end][1][1:]) for end in (0, -1))
    assert palette.returns_home == is_cyclic
    assert (max(abs(a - b) for a, b in zip(first, last, strict=True)) <= 2) == is_cyclic
