"""Which orbit serves which view, and that views away from it are drawn as with one of their own."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from renderers.mandelbrot.deep.model import DeepModel
from renderers.mandelbrot.kernel import Window
from renderers.streaming.camera import Camera, changed
from renderers.streaming.references import NEAR, ROUGHLY, References, may_serve
from renderers.streaming.subject import Subject

CENTER = ["1e-30", "1"]  # beside i, around which the set has branches at every depth
SIDE = 96


def subject(dx: str = "0", radius: str = "1e-25", **fields: Any) -> Subject:
    x = Fraction(CENTER[0]) + Fraction(dx)
    digits = 80
    text = f"{int(x * 10**digits)}e-{digits}"
    place = {"center": [text, CENTER[1]], "radius": radius, "width": SIDE, "height": SIDE, "max_iter": 3000}
    return Subject.of(changed(Camera(), place | fields))


def loaded(references: References, wanted: Subject) -> DeepModel:
    model = references.load(wanted, lambda: False)
    assert model is not None
    return model


def counts(shown: Subject, model: DeepModel) -> Any:
    found, smooth = np.empty((SIDE, SIDE), np.uint32), np.empty((SIDE, SIDE), np.float32)
    view = shown.grid.deep(model.reference.center)
    assert model.render_tile(view, Window(0, 0, SIDE, SIDE), found, smooth, np.zeros(1, np.uint8))
    return found


@pytest.mark.parametrize(("dx", "radius"), [("7e-26", "1e-25"), ("3.3e-24", "1e-25"), ("2e-25", "3e-26")])
def test_a_view_is_drawn_the_same_with_a_reference_elsewhere(dx: str, radius: str) -> None:
    references, shown = References(), subject("0", radius)
    elsewhere, own = loaded(references, subject(dx)), loaded(references, shown)

    here, there = counts(shown, own), counts(shown, elsewhere)

    assert len(np.unique(here)) > 10
    assert np.mean(here != there) < 0.002


@pytest.mark.parametrize(
    ("fields", "serves"),
    [
        ({}, True),
        ({"dx": "1e-22"}, True),
        ({"dx": "1e-20"}, False),
        ({"radius": "1e-28"}, True),
        ({"radius": "1e-30"}, False),
        ({"radius": "1e-20"}, True),
        ({"max_iter": 2000}, True),
        ({"max_iter": 3001}, False),
        ({"escape_radius": 4.0}, False),
        ({"radius": "0.01"}, False),
    ],
)
def test_which_views_a_reference_may_serve(fields: dict[str, Any], serves: bool) -> None:
    assert may_serve(subject().reference, subject(**fields)) is serves


def test_an_orbit_that_escapes_serves_any_limit() -> None:
    references = References()
    model = loaded(references, subject())

    found = references.find(subject(max_iter=9000))
    assert (found is model) is (model.orbit.last < 3000)
    assert found is model


def test_the_nearest_is_taken_and_a_far_one_for_a_look_alone() -> None:
    references = References()
    far, near = loaded(references, subject("5e-22")), loaded(references, subject())

    assert references.find(subject("1e-26")) is near
    assert references.find(subject("4.99e-22")) is far
    lost = subject("1e-19")
    assert references.find(lost) is None
    assert references.find(lost, ROUGHLY, whole=False) is far
    assert ROUGHLY > NEAR


def test_models_of_batch_work_serve_too() -> None:
    model = loaded(References(), subject())

    assert References(lambda: [model]).find(subject("1e-26")) is model
    assert References(lambda: [model]).exact(subject()) is model
    assert References(lambda: [model]).exact(subject("1e-26")) is None


def test_a_load_that_is_not_wanted_any_more_is_left() -> None:
    assert References().load(subject(), lambda: True) is None
