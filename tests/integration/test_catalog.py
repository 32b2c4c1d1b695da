"""The catalogue of render models: equal parameters are one model, and a name belongs to one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connections

from rrm.errors import Invalid
from rrm.farm.catalog import render_model
from rrm.farm.models import RenderModel

VALLEY: dict[str, Any] = {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 2000}
OTHER: dict[str, Any] = {**VALLEY, "max_iter": 2001}


@pytest.mark.django_db
def test_equal_parameters_are_one_model() -> None:
    first, is_new = render_model("mandelbrot", VALLEY)
    written_otherwise = {"viewport": ["-0.7450", "-0.735", 0.105, "1.15e-1"], "max_iter": 2000, "escape_radius": 2}

    second, is_new_again = render_model("mandelbrot", written_otherwise)

    assert (second.pk, is_new, is_new_again) == (first.pk, True, False)


@pytest.mark.django_db
def test_other_parameters_are_another_model() -> None:
    assert render_model("mandelbrot", VALLEY)[0] != render_model("mandelbrot", OTHER)[0]


@pytest.mark.django_db
def test_a_model_without_a_name_can_be_named() -> None:
    model, _ = render_model("mandelbrot", VALLEY)

    named, is_new = render_model("mandelbrot", VALLEY, "valley")
    again, _ = render_model("mandelbrot", VALLEY, "valley")
    unnamed, _ = render_model("mandelbrot", VALLEY)

    assert (named.pk, named.name, is_new) == (model.pk, "valley", False)
    assert again.name == unnamed.name == "valley"


@pytest.mark.django_db
def test_a_name_that_is_taken_is_refused_and_nothing_is_left_behind() -> None:
    render_model("mandelbrot", VALLEY, "valley")

    with pytest.raises(Invalid, match="taken by a model with other parameters"):
        render_model("mandelbrot", OTHER, "valley")

    assert RenderModel.objects.count() == 1


@pytest.mark.django_db
def test_a_model_keeps_its_name() -> None:
    render_model("mandelbrot", VALLEY, "valley")

    with pytest.raises(Invalid, match="already have the name 'valley'"):
        render_model("mandelbrot", VALLEY, "dale")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("renderer", "params", "name", "field"),
    [
        ("julia", VALLEY, None, "renderer"),
        ("mandelbrot", {"max_iter": 5}, None, "params.center"),
        ("mandelbrot", [], None, "params"),
        ("mandelbrot", VALLEY, "", "name"),
        ("mandelbrot", VALLEY, "Valley", "name"),
        ("mandelbrot", VALLEY, "a b", "name"),
        ("mandelbrot", VALLEY, "x" * 101, "name"),
        ("mandelbrot", VALLEY, "valley\n", "name"),
    ],
)
def test_what_cannot_be_accepted_is_named(renderer: str, params: object, name: str | None, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        render_model(renderer, params, name)

    assert field in caught.value.errors
    assert not RenderModel.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_callers_at_the_same_moment_get_the_same_model() -> None:
    found: list[object] = []
    start = threading.Barrier(6)

    def call(name: str | None) -> None:
        start.wait()
        try:
            found.append(render_model("mandelbrot", VALLEY, name)[0].pk)
        except Invalid:
            found.append("refused")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=call, args=(name,)) for name in (None, None, None, None, "valley", "dale")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    model = RenderModel.objects.get()
    assert sorted(map(str, found)) == sorted([str(model.pk)] * 5 + ["refused"])
    assert model.name in {"valley", "dale"}
