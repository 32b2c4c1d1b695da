"""Every path of the kernel, however it computes, gives the same bytes."""

import functools
import importlib.util
import random
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, integers, sampled_from

from renderers.mandelbrot import native
from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.native import UnknownPath, made, names
from renderers.mandelbrot.simd.path import WORTH
from renderers.mandelbrot.tile import Doubles, Tile
from tests.unit.renderers.orbits import FAMILIES, JULIA_SETS

path = functools.cache(made)
GENERATED = [name for name in names() if name not in ("numba", "numpy")]
COMPONENTS = ((-0.1226, 0.7449), (-1.7549, 0.0), (-0.744, 0.111), (-0.16, 1.035), (0.282, 0.53), (-1.31, 0.0))


def rendered(name: str, xs: Doubles, ys: Doubles, max_iter: int, formula: Formula = MANDELBROT, **more: Any) -> bytes:
    """Counts and smooth values as bytes."""
    counts, smooth = np.full((len(ys), len(xs)), 77, np.uint32), np.full((len(ys), len(xs)), np.nan, np.float32)
    radius = more.pop("radius", 2.0)
    tile = Tile(xs, ys, max_iter, radius * radius, formula, counts, smooth, np.zeros(1, np.uint8), **more)
    assert path(name).render(tile)
    return counts.tobytes() + smooth.tobytes()


def axis(start: float, size: float, count: int) -> Doubles:
    return start + np.arange(count, dtype=np.float64) * (size / count)


@given(
    x=floats(-2.2, 1.0),
    y=floats(-1.3, 1.3),
    size=floats(-9.0, 0.6),
    rows=integers(1, 40),
    cols=integers(1, 40),
    max_iter=integers(1, 300),
    radius=sampled_from([2.0, 2.0, 10.0, 1e10, 1e100]),
    formula=sampled_from(FAMILIES + JULIA_SETS),
)
@settings(max_examples=60, deadline=None)
def test_all_instruction_sets_and_numpy_give_the_same_bytes(
    x: float, y: float, size: float, rows: int, cols: int, max_iter: int, radius: float, formula: Formula
) -> None:
    xs, ys = axis(x, 10**size, cols), axis(y, 10**size, rows)
    results = {rendered(name, xs, ys, max_iter, formula, radius=radius) for name in [*GENERATED, "numpy"]}
    assert len(results) == 1


@pytest.mark.parametrize("name", names())
def test_an_outside_pixel_never_has_the_smooth_value_of_the_inside(name: str) -> None:
    beside_minus_two = np.nextafter(-2.0, -3.0)  # its orbit takes all the steps that are allowed to get far: 12

    data = rendered(name, np.array([beside_minus_two, 0.0, -2.0]), np.zeros(1), 12)

    assert np.frombuffer(data[:12], np.uint32).tolist() == [0, 12, 12]
    assert np.frombuffer(data[12:], np.float32).tolist() == [np.nextafter(np.float32(12), np.float32(0)), 12.0, 12.0]


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is optional")
@pytest.mark.parametrize("formula", [MANDELBROT, Formula("multibrot", 5, (-0.4, 0.6))], ids=str)
def test_numba_gives_the_same_bytes(formula: Formula) -> None:
    chance = random.Random(3)
    for size in (4.0, 0.1, 1e-3, 1e-5):
        start = chance.uniform(-2.0, 0.0), chance.uniform(-1.0, 0.0)
        xs, ys = axis(start[0], size, 67), axis(start[1], size, 45)
        assert rendered("numba", xs, ys, 400, formula) == rendered(names()[0], xs, ys, 400, formula)


@pytest.mark.parametrize("name", GENERATED)
def test_discs_change_no_byte(name: str) -> None:
    chance = random.Random(11)
    places = [
        (-0.1226, 0.7449),
        (-1.7549, 0.0),
        (-0.744, 0.111),
        (-0.16, 1.035),
        (0.282, 0.53),
        (-1.31, 0.0),
        (-1.25, 0.02),
    ]
    for x, y in places:
        size = 10 ** chance.uniform(-3.5, -0.7)
        xs, ys = axis(x - size / 2, size, 150), axis(y - size / 2, size, 90)
        limit = WORTH * chance.randrange(1, 5)
        assert rendered(name, xs, ys, limit) == rendered(name, xs, ys, limit, knows_components=False)


def test_discs_save_most_of_the_work_inside() -> None:
    """A component's tile takes far less than its pixels times the limit."""
    xs, ys = axis(-0.1226, 0.01, 256), axis(0.7449, 0.01, 256)
    spent = []
    for knows in (True, False):
        began = time.thread_time()
        rendered(names()[0], xs, ys, 4000, knows_components=knows)
        spent.append(time.thread_time() - began)
    assert spent[0] < spent[1] / 5


@pytest.mark.parametrize("formula", [MANDELBROT, JULIA_SETS[4]], ids=str)
def test_tiles_of_any_size_in_any_order_on_any_thread_give_the_same_picture(formula: Formula) -> None:
    xs, ys = axis(-0.76, 0.05, 173), axis(0.08, 0.05, 131)
    whole = np.frombuffer(rendered(names()[0], xs, ys, 900, formula)[: 4 * 173 * 131], np.uint32).reshape(131, 173)
    for size in (7, 19, 64):
        picture = np.zeros_like(whole)
        places = [(row, col) for row in range(0, 131, size) for col in range(0, 173, size)]
        random.Random(size).shuffle(places)

        def draw(own: list[tuple[int, int]], size: int = size, picture: Any = picture) -> None:
            for row, col in own:
                part = xs[col : col + size], ys[row : row + size]
                shape = len(part[1]), len(part[0])
                got = np.frombuffer(rendered(names()[0], *part, 900, formula)[: 4 * shape[0] * shape[1]], np.uint32)
                picture[row : row + size, col : col + size] = got.reshape(shape)

        threads = [threading.Thread(target=draw, args=(places[k::3],)) for k in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert np.array_equal(picture, whole)


def test_the_environment_chooses_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_KERNEL", "numpy")
    assert native.path().name == "numpy"
    monkeypatch.setenv("RRM_KERNEL", "auto")
    assert native.path().name == names()[0]


def test_a_path_that_this_machine_does_not_have_is_refused_with_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_KERNEL", "mmx")
    with pytest.raises(UnknownPath, match=f"RRM_KERNEL=mmx: this machine has auto, {names()[0]}"):
        native.path()


def test_where_code_cannot_be_made_a_portable_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("LLVM cannot select an instruction")

    native._chosen.cache_clear()
    monkeypatch.setattr("renderers.mandelbrot.simd.path.loaded", fail)
    try:
        assert native.path().name in {"numba", "numpy"}
    finally:
        native._chosen.cache_clear()


def test_without_llvmlite_and_numba_there_is_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(native, "simd", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "numba" else find(name, *rest))
    assert names() == ["numpy"]
