"""The catalogue of render models: equal parameters are one row, and a row may carry a name."""

from __future__ import annotations

import re

from django.db import IntegrityError, transaction

from rrm.domain import mandelbrot
from rrm.domain.orders import is_uuid
from rrm.errors import Invalid
from rrm.farm.models import RenderModel

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}", re.ASCII)


def render_model(renderer: str, params: object, name: str | None = None) -> tuple[RenderModel, bool]:
    """The model with these parameters, and whether it is new. A `name` is given to it if it has none.

    Raises Invalid for parameters that cannot be accepted, and for a name that is not a slug or is not this model's.
    """
    if renderer != mandelbrot.RENDERER:
        raise Invalid("renderer", f"The only renderer with models is {mandelbrot.RENDERER!r}.")
    canonical = mandelbrot.canonical(params)
    if name is not None and not is_name(name):
        raise Invalid("name", "Use at most 100 lower-case letters, digits, '-', '_' and '.', not an id.")
    with transaction.atomic():
        model, is_new = RenderModel.objects.get_or_create(
            renderer=renderer, digest=mandelbrot.digest(canonical), defaults={"params": canonical}
        )
        if name is not None and model.name != name:
            _give_name(model, name)
    return model, is_new


def is_name(text: str) -> bool:
    """Whether a model may be called this: a slug that nobody takes for an id."""
    return _NAME.fullmatch(text) is not None and not is_uuid(text)


def _give_name(model: RenderModel, name: str) -> None:
    """Name an unnamed model. The unique constraint decides between two who want the same name."""
    try:
        with transaction.atomic():
            RenderModel.objects.filter(pk=model.pk, name=None).update(name=name)
    except IntegrityError:
        raise Invalid("name", f"The name {name!r} is taken by a model with other parameters.") from None
    model.refresh_from_db(fields=["name"])
    if model.name != name:
        raise Invalid("name", f"These parameters already have the name {model.name!r}.")
