"""Painting and encoding by generated code, against the same in numpy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats, integers

from renderers.mandelbrot.layout import CHANNELS, TABLE_SIZE
from renderers.mandelbrot.native import made, names
from renderers.mandelbrot.portable.pixels import FUNCTIONS
from tests.unit.renderers.test_paths import path

GENERATED = [name for name in names() if name not in ("numba", "numpy")]
sizes = integers(1, 150)


def both(name: str, way: str, out_shape: tuple[int, ...], *arguments: Any) -> tuple[bytes, bytes]:
    """What numpy and a path make of the same arguments; arrays are handed over by address, `None` is the output."""
    results = []
    for function in (FUNCTIONS[name], path(way).function(name)):
        out = np.full(out_shape, 99, np.uint8)
        given = [out if argument is None else argument for argument in arguments]
        function(*(each.ctypes.data if isinstance(each, np.ndarray) else each for each in given))
        results.append(out.tobytes())
    return results[0], results[1]


@pytest.mark.parametrize("way", GENERATED)
@given(
    rows=sizes,
    cols=sizes,
    seed=integers(0, 99),
    offset=floats(-5.0, 5.0),
    scale=floats(-3.0, 3.0),
    bands=integers(0, 1),
)
@settings(max_examples=25, deadline=None)
def test_painting(way: str, rows: int, cols: int, seed: int, offset: float, scale: float, bands: int) -> None:
    chance = np.random.default_rng(seed)
    counts = chance.integers(0, 301, (rows, cols), np.uint32)
    smooth = (counts + chance.random((rows, cols))).astype(np.float32)
    colors = chance.integers(0, 256, (TABLE_SIZE + 1, CHANNELS), np.uint8)
    rest = (rows, cols, 300.0, offset, scale, bands)
    wanted, found = both("paint", way, (rows, cols, CHANNELS), smooth, counts, colors, None, *rest)
    assert found == wanted
    wanted, found = both("index", way, (rows, cols), smooth, counts, None, *rest)
    assert found == wanted


@pytest.mark.parametrize("way", GENERATED)
@pytest.mark.parametrize("scale", [1e300, 1e308, -1e308, 1e-320])
def test_painting_with_extreme_scales(way: str, scale: float) -> None:
    counts = np.arange(60, dtype=np.uint32).reshape(6, 10)
    smooth = counts.astype(np.float32) * np.float32(1e36)
    rest = (6, 10, 50.0, -1e308, scale, 0)
    wanted, found = both("index", way, (6, 10), smooth, counts, None, *rest)
    assert found == wanted


@pytest.mark.parametrize("way", GENERATED)
@given(picture=arrays(np.uint8, (7, 99)), rows=integers(1, 7), cols=integers(1, 33))
@settings(max_examples=25, deadline=None)
def test_the_filter_of_rows(way: str, picture: Any, rows: int, cols: int) -> None:
    part = np.ascontiguousarray(picture[:rows, : CHANNELS * cols])
    wanted, found = both("sub_filter", way, (rows, CHANNELS * cols + 1), part, None, rows, CHANNELS * cols)
    assert found == wanted


@pytest.mark.parametrize("way", GENERATED)
@given(rows=integers(1, 40), cols=integers(1, 40), factor=integers(1, 9), seed=integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_means_of_boxes(way: str, rows: int, cols: int, factor: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (rows, cols, CHANNELS), np.uint8)
    shape = (-(-rows // factor), -(-cols // factor), CHANNELS)
    wanted, found = both("average", way, shape, picture, None, rows, cols, factor)
    assert found == wanted


@pytest.mark.parametrize("way", ["numpy", *GENERATED[:1]])
def test_a_mean_is_rounded_to_the_nearest(way: str) -> None:
    picture = np.array([[[0, 1, 255], [1, 1, 255]]], np.uint8)
    out = np.zeros((1, 1, CHANNELS), np.uint8)
    made(way).function("average")(picture.ctypes.data, out.ctypes.data, 1, 2, 2)
    assert out.tolist() == [[[1, 1, 255]]]
