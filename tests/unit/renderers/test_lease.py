"""Reading a lease."""

from fractions import Fraction
from typing import Any

import pytest

from renderers.lease import BadLease, parse_lease
from renderers.mandelbrot.deep.model import DeepView, Reference
from renderers.mandelbrot.formulas import Formula
from renderers.mandelbrot.kernel import Limits, View, Window
from renderers.mandelbrot.picture import Sampling
from tests.unit.renderers.manager_server import deep_lease, lease_document


def test_a_lease_is_read() -> None:
    lease = parse_lease(lease_document())
    assert (lease.id, lease.job, lease.start, lease.stop) == ("lease-1", "job-1", 0, 4)
    assert lease.view == View(-2.5, -1.25, 3.5 / 64, 2.5 / 64)
    assert lease.limits == Limits(100, 2.0)
    assert lease.outputs == {"png", "counts", "smooth"}
    assert lease.coloring.stops[1] == (0.5, "#ff8000")


def test_sampling_and_light_are_read() -> None:
    look = lease_document()["coloring"] | {"method": "normal", "light_angle": 30.0, "light_height": 0.5}
    lease = parse_lease(lease_document(supersample=3, adaptive=True, coloring=look))
    assert (lease.sampling, parse_lease(lease_document()).sampling) == (Sampling(3, True), Sampling(1, False))
    assert (lease.coloring.light_angle, lease.coloring.light_height) == (30.0, 0.5)


def test_tiles_at_the_right_and_upper_edge_are_smaller() -> None:
    lease = parse_lease(lease_document(width=70, height=50, tile_cols=3, tile_rows=2, stop=6))
    assert lease.window(0) == Window(0, 0, 32, 32)
    assert lease.window(2) == Window(0, 64, 32, 6)
    assert lease.window(5) == Window(32, 64, 18, 6)


def test_a_deep_lease_is_read_with_all_its_digits() -> None:
    lease = parse_lease(deep_lease())
    center = "0.0000000000000000000000000000000000000000000001", "1"
    assert lease.reference == Reference("deep", (Fraction(center[0]), Fraction(1)), Fraction("1e-30"), 5000, 2.0)
    assert isinstance(lease.view, DeepView)
    assert float(lease.view.dx) == pytest.approx(2e-30 / 64, rel=1e-15)
    assert (lease.view.width, lease.view.height) == (64, 64)


def test_the_precision_of_a_viewport_is_that_of_its_shorter_side() -> None:
    params = {"viewport": ["0", "3e-30", "0", "2e-30"], "max_iter": 10, "fit": "expand"}
    lease = parse_lease(deep_lease(model=deep_lease()["model"] | {"params": params}))
    assert lease.reference
    assert lease.reference.radius == Fraction("1e-30")


def test_a_lease_in_doubles_needs_no_orbit() -> None:
    assert parse_lease(lease_document()).reference is None


def _with_view(**changes: Any) -> dict[str, Any]:
    return deep_lease(view=deep_lease()["view"] | changes)


def _with_params(**changes: Any) -> dict[str, Any]:
    model = lease_document()["model"]
    return lease_document(model=model | {"params": model["params"] | changes})


@pytest.mark.parametrize(
    "document",
    [
        _with_params(formula="julia"),
        _with_params(max_iter=0),
        _with_params(escape_radius=1.9),
        _with_params(escape_radius=1e200),
        lease_document(model={"digest": "d", "renderer": "volume", "params": {}}),
        lease_document(view={"x0": 0.0}),
        lease_document(coloring=lease_document()["coloring"] | {"cycle": 0.0}),
        lease_document(coloring=lease_document()["coloring"] | {"stops": []}),
        lease_document(coloring=lease_document()["coloring"] | {"method": "histogram"}),
        lease_document(coloring=lease_document()["coloring"] | {"interpolation": "cubic"}),
        lease_document(coloring=lease_document()["coloring"] | {"offset": float("nan")}),
        lease_document(coloring=lease_document()["coloring"] | {"interior": "black"}),
        lease_document(coloring=lease_document()["coloring"] | {"stops": [[0.5, "#000000"], [0.4, "#ffffff"]]}),
        lease_document(coloring=lease_document()["coloring"] | {"stops": [[0.5, "#00000"]]}),
        lease_document(coloring=lease_document()["coloring"] | {"stops": [[0.5, "#000000"], [1.5, "#ffffff"]]}),
        lease_document(coloring=lease_document()["coloring"] | {"method": "normal", "light_height": -1.0}),
        lease_document(supersample=0),
        lease_document(supersample=5),
        lease_document(supersample="many"),
        lease_document(width="wide"),
        _with_view(method="guess"),
        _with_view(center=["0"]),
        _with_view(center=["0", "0", "0"]),
        _with_view(center=["0", "NaN"]),
        _with_view(center=["0", "1000001"]),
        _with_view(center=["0", "1e99999999"]),
        _with_view(center="here"),
        _with_view(dx="0"),
        _with_view(dy="-1e-30"),
        _with_view(dx="1e-1101"),
        _with_view(dy="1e-15"),
        _with_view(dx="9" * 5000),
        deep_lease(model=deep_lease()["model"] | {"params": {"max_iter": 10}}),
        deep_lease(model=deep_lease()["model"] | {"params": {"max_iter": 10_000_001, "radius": "1e-30"}}),
    ],
)
def test_a_lease_that_cannot_be_rendered_is_refused_by_name(document: dict[str, Any]) -> None:
    with pytest.raises(BadLease) as refusal:
        parse_lease(document)
    assert refusal.value.lease_id == document["id"]


@pytest.mark.parametrize(
    ("params", "formula"),
    [
        ({}, Formula()),
        ({"formula": "multibrot4"}, Formula("multibrot", 4)),
        ({"formula": "burning-ship", "julia": ["-0.5", "0.1"]}, Formula("burning-ship", 2, (-0.5, 0.1))),
        ({"julia": ["-0.8", "0.156"]}, Formula(julia=(-0.8, 0.156))),
    ],
)
def test_the_formula_is_read(params: dict[str, Any], formula: Formula) -> None:
    assert parse_lease(_with_params(**params)).formula == formula
