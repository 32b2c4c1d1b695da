"""Palettes."""

from __future__ import annotations

import pytest

from rrm.domain.coloring import parse
from rrm.domain.palettes import PALETTES


def test_eleven_palettes_ship() -> None:
    linear = [name for name, palette in PALETTES.items() if palette.interpolation == "linear"]
    cosine = [name for name, palette in PALETTES.items() if palette.interpolation == "cosine"]
    assert linear == ["electric", "fire", "ocean", "cosmic"]
    assert sorted(cosine) == ["AfternoonBlue", "Biochemist", "Fiesta", "Hippi", "Plan9", "SummerBeach", "Vivid"]


@pytest.mark.parametrize("name", PALETTES)
def test_every_palette_ascends_from_0_to_1_and_is_accepted_as_stops(name: str) -> None:
    palette = PALETTES[name]
    positions = [position for position, _ in palette.stops]
    assert positions == sorted(positions)
    assert (positions[0], positions[-1]) == (0, 1)
    assert all(positions.count(position) <= 2 for position in positions)
    wire = parse({"palette": name})
    assert parse({"stops": wire["stops"], "interpolation": wire["interpolation"]}) == wire


def test_stops_are_placed_as_their_family_does() -> None:
    assert PALETTES["electric"].stops[1] == (0.2, "#000764")
    assert PALETTES["AfternoonBlue"].stops[1] == (0.2, "#6c98b8")
    assert [position for position, _ in PALETTES["Fiesta"].stops] == [0, 0.4, 0.6, 0.8, 1]
    assert PALETTES["Hippi"].stops[:3] == ((0.0, "#00040f"), (0.12, "#032628"), (0.18, "#073e1e"))


def test_colors_that_share_a_hundredth_keep_its_two_sides() -> None:
    assert PALETTES["Plan9"].stops[:4] == ((0, "#000000"), (0, "#000044"), (0.01, "#000088"), (0.01, "#004400"))
