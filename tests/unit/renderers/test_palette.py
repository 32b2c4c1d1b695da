"""Colour tables and painting."""

import math

import numpy as np
import pytest

from renderers.mandelbrot.layout import TABLE_SIZE
from renderers.mandelbrot.palette import Coloring, Painter, color_table

STOPS = ((0.0, "#000000"), (0.25, "#ff0040"), (0.5, "#00ff00"), (1.0, "#808080"))


def coloring(**changes: object) -> Coloring:
    fields: dict[str, object] = {
        "stops": STOPS,
        "interpolation": "linear",
        "method": "smooth",
        "cycle": 64.0,
        "offset": 0.0,
        "scale": 1.0,
        "interior": "#0a0b0c",
    }
    return Coloring(**(fields | changes))  # type: ignore[arg-type]


def paint(look: Coloring, values: list[float], counts: list[int], max_iter: int = 1000) -> list[tuple[int, ...]]:
    """The colours of one row of pixels."""
    picture = Painter(look, max_iter).paint(np.array([counts], np.uint32), np.array([values], np.float32))
    return [tuple(int(channel) for channel in pixel) for pixel in picture.reshape(-1, 3)]


def test_the_table_has_the_stops_colours_at_their_positions() -> None:
    table = color_table(STOPS, "linear")
    assert table.shape == (TABLE_SIZE, 3)
    assert table[0].tolist() == [0, 0, 0]
    assert table[TABLE_SIZE // 4].tolist() == [255, 0, 64]
    assert table[TABLE_SIZE // 2].tolist() == [0, 255, 0]


def test_linear_interpolation_is_half_way_in_the_middle_and_a_quarter_at_a_quarter() -> None:
    table = color_table(((0.0, "#000000"), (1.0, "#c86400")), "linear")
    assert table[TABLE_SIZE // 2].tolist() == [100, 50, 0]
    assert table[TABLE_SIZE // 4].tolist() == [50, 25, 0]


def test_cosine_interpolation_follows_the_cosine_per_channel() -> None:
    table = color_table(((0.0, "#000000"), (1.0, "#c86400")), "cosine")
    mix = (1 - math.cos(math.pi / 4)) / 2
    assert table[TABLE_SIZE // 2].tolist() == [100, 50, 0]
    assert table[TABLE_SIZE // 4].tolist() == [round(200 * mix), round(100 * mix), 0]


def test_stops_that_do_not_reach_the_ends_are_joined_across_the_cycle() -> None:
    table = color_table(((0.25, "#000000"), (0.75, "#640000")), "linear")
    assert table[0].tolist() == [50, 0, 0]
    assert table[-1, 0] in (50, 51)
    assert table[TABLE_SIZE * 7 // 8].tolist() == [75, 0, 0]


def test_one_stop_makes_one_colour() -> None:
    assert (color_table(((0.3, "#123456"),), "linear") == [0x12, 0x34, 0x56]).all()


def test_values_are_cyclic() -> None:
    near, far, below = paint(coloring(), [16.0, 16.0 + 64 * 5, 16.0 - 64], [16, 336, 0])
    assert near == far == below == (255, 0, 64)


def test_offset_moves_and_scale_stretches() -> None:
    assert paint(coloring(offset=0.25), [0.0], [0]) == [(255, 0, 64)]
    assert paint(coloring(scale=2.0), [8.0], [8]) == [(255, 0, 64)]


def test_a_negative_scale_runs_the_palette_backwards() -> None:
    assert paint(coloring(scale=-1.0), [48.0, 32.0], [48, 32]) == [(255, 0, 64), (0, 255, 0)]


def test_bands_use_the_count_and_smooth_the_value() -> None:
    assert paint(coloring(method="bands"), [31.5], [16]) == [(255, 0, 64)]
    assert paint(coloring(method="smooth"), [32.0], [16]) == [(0, 255, 0)]


def test_inside_pixels_get_the_interior_colour() -> None:
    assert paint(coloring(), [1000.0, 999.0], [1000, 999])[0] == (10, 11, 12)
    assert paint(coloring(method="bands"), [1000.0], [1000]) == [(10, 11, 12)]


def test_the_picture_has_the_last_data_row_on_top() -> None:
    counts = np.array([[16], [32]], np.uint32)
    picture = Painter(coloring(), 1000).paint(counts, counts.astype(np.float32))
    assert picture.tolist() == [[0, 255, 0], [255, 0, 64]]


@pytest.mark.parametrize("value", [-1e-300, -1e-17, 1e30, -1e30, float("nan")])
def test_extreme_values_have_some_colour(value: float) -> None:
    assert len(paint(coloring(), [value], [1])) == 1
