"""A camera shows what a job that renders the same view would show: the same points, the same colours."""

from typing import Any

import numpy as np
import pytest

from renderers.lease import parse_lease
from renderers.mandelbrot.kernel import View
from renderers.streaming.camera import LONGEST_SIDE, MOST_DIGITS, Camera, changed
from renderers.streaming.grid import DOUBLE_RADIUS
from renderers.streaming.palettes import PALETTES
from renderers.streaming.subject import Subject
from rrm.domain import coloring, mandelbrot
from rrm.farm.colormaps import palettes

SEAHORSES = {"center": ["-0.743643887037158704752191506114774", "0.131825904205311970493132056385139"]}
PLACES: list[dict[str, Any]] = [
    {"center": ["-0.75", "0"], "radius": "1.25"},
    SEAHORSES | {"radius": "3.3e-5"},
    SEAHORSES | {"radius": "1e-13"},
    SEAHORSES | {"radius": "0.99e-13"},
    SEAHORSES | {"radius": "7e-21"},
    {"center": ["999999", "0"], "radius": "1e-9"},
    {"center": ["0.1", "-1e-60"], "radius": "1.7e-300"},
]


def lease_of(place: dict[str, Any], width: int, height: int, look: dict[str, Any] | None = None) -> Any:
    """The lease that a node would get of a job."""
    params = mandelbrot.canonical(place | {"max_iter": 500})
    view = mandelbrot.geometry(params, width, height)
    document = {
        "id": "lease",
        "job": "job",
        "start": 0,
        "stop": 1,
        "width": width,
        "height": height,
        "tile_size": 4096,
        "tile_cols": 1,
        "model": {"digest": "", "renderer": "mandelbrot", "params": params},
        "view": view.as_dict(),
        "outputs": ["png"],
        "coloring": coloring.parse(look or {}, palettes()),
    }
    return parse_lease(document)


def subject_of(place: dict[str, Any], width: int, height: int, **look: Any) -> Subject:
    return Subject.of(changed(Camera(), place | look | {"width": width, "height": height, "max_iter": 500}))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [(1280, 720), (333, 1000)])
def test_the_points_are_those_of_a_job(place: dict[str, Any], size: tuple[int, int]) -> None:
    lease, subject = lease_of(place, *size), subject_of(place, *size)

    if isinstance(lease.view, View):
        assert not subject.is_deep
        assert subject.grid.doubles == lease.view
    else:
        assert subject.is_deep
        assert subject.grid.deep(subject.grid.center) == lease.view
        assert subject.reference == lease.reference
    assert (subject.limits, subject.formula) == (lease.limits, lease.formula)


@pytest.mark.parametrize(
    "look",
    [
        {},
        *({"palette": name} for name in palettes()),
        {"palette": "viridis", "method": "distance"},
        {"palette": "viridis", "repeat": "wrap"},
        {"palette": "fire", "repeat": "mirror", "interpolation": "cosine"},
        {"stops": [[0.1, "#102030"], [0.9, "#FFeedd"]], "offset": 0.25, "scale": -3, "interior": "#010203"},
        {"method": "normal", "light_angle": -30, "light_height": 0.5},
        {"method": "bands"},
    ],
)
def test_the_colours_are_those_of_a_job(look: dict[str, Any]) -> None:
    place = PLACES[0]

    assert subject_of(place, 64, 64, **look).coloring == lease_of(place, 64, 64, look).coloring


def test_every_palette_of_the_manager_is_known_and_no_other() -> None:
    """`palettes.json` is what `rrm.farm.colormaps.palettes` gives."""
    assert list(PALETTES) == list(palettes())
    for name, palette in palettes().items():
        known = PALETTES[name]
        assert (known.stops, known.interpolation, known.returns_home) == (
            palette.stops,
            palette.interpolation,
            palette.returns_home,
        )


def test_the_bounds_are_those_of_the_manager() -> None:
    assert DOUBLE_RADIUS == mandelbrot.DOUBLE_RADIUS
    assert mandelbrot._MAX_DIGITS == MOST_DIGITS
    assert LONGEST_SIDE > 4096


@pytest.mark.parametrize("place", PLACES)
def test_coarse_samples_lie_in_the_middle_of_what_they_stand_for(place: dict[str, Any]) -> None:
    grid = subject_of(place, 64, 48).grid
    if grid.is_deep:
        fine, coarse = grid.deep(grid.center), grid.coarse_deep(16, 12, grid.center)
        assert float(coarse.dx) == pytest.approx(4 * float(fine.dx))
        first_of_four = -0.5 * coarse.width * 4
        assert first_of_four == pytest.approx(-0.5 * fine.width + 1.5, abs=0.51)
    else:
        doubles, few = grid.doubles, grid.coarse_doubles(16, 12)
        assert few.x0 == pytest.approx(np.mean(doubles.x0 + np.arange(4) * doubles.dx), abs=0.2 * doubles.dx)
