"""Sites, resources and named render models of a document, compared with the rows there are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from rrm.domain import capabilities, mandelbrot
from rrm.errors import Invalid
from rrm.farm import catalog
from rrm.farm.models import RenderModel, Resource, ResourceSite, Site
from rrm.farm.populating.document import Values
from rrm.farm.populating.plan import Change, Check
from rrm.farm.transitions import record

ACTOR = "populate"
_SITE_FIELDS = (
    *("name", "kind", "color", "host", "port", "username", "identity", "host_key", "connection"),
    *("gateway", "python", "directory", "poll_interval"),
    *("max_nodes", "max_parallel_loads", "capabilities", "enabled"),
)
_ROW_FIELDS = (
    *("name", "description", "renderer", "enabled", "command_line", "environment_variables", "modules"),
    *("process_rest_parameters_format", "scheduler_rest_parameters_format", "project", "queue", "exclusive"),
    *("nb_nodes", "nb_cpus", "nb_gpus", "memory", "graceful_exit", "wait_until_running", "min_nodes", "max_nodes"),
    *("standby", "idle_timeout", "time_limit", "prologue", "extra_directives", "skip_directives"),
)
_RESOURCE_FIELDS = (*_ROW_FIELDS, "sites")
_MODEL_FIELDS = ("renderer", "params", "pinned")

_Row = Site | Resource
_Differences = Mapping[str, tuple[Any, Any]]


def sites(check: Check) -> list[Change]:
    rows = Site.objects.in_bulk()
    return [_site(check, key, values, rows.get(key)) for key, values in check.document.section("sites").items()]


def resources(check: Check) -> list[Change]:
    rows = Resource.objects.prefetch_related("placements").in_bulk()
    known = {*Site.objects.values_list("pk", flat=True), *check.document.section("sites")}
    return [
        _resource(check, key, values, rows.get(key), known)
        for key, values in check.document.section("resources").items()
    ]


def named_models(check: Check) -> list[Change]:
    section = check.document.section("models")
    digests = {key: digest for key, values in section.items() if (digest := _digest(check, key, values))}
    return [
        _model(check, key, section[key], digests)
        for key in section
        if key in digests and _is_alone(check, key, digests)
    ]


def _site(check: Check, key: str, values: Values, old: Site | None) -> Change:
    row = old or Site(pk=key)
    with contextlib.suppress(ValueError):  # complained of below
        values = {**values, "capabilities": capabilities.parse(values.get("capabilities"))}
    fields = _differences(check, f"sites.{key}", row, values, _SITE_FIELDS)
    return Change("site", key, old is None, fields, partial(_save, row, fields))


def _resource(check: Check, key: str, values: Values, old: Resource | None, known: set[str]) -> Change:
    where = f"resources.{key}"
    row = old or Resource(pk=key)
    check.has_only(where, values, _RESOURCE_FIELDS)
    own = {name: value for name, value in values.items() if name != "sites"}
    fields = _differences(check, where, row, own, _RESOURCE_FIELDS)
    placed = [placement.site_id for placement in old.placements.all()] if old else []
    wanted = values.get("sites", placed)
    if _are_sites(check, f"{where}.sites", wanted, known) and wanted != placed:
        fields = {**fields, "sites": (placed, wanted)}
    return Change("resource", key, old is None, fields, partial(_save_resource, row, fields))


def _are_sites(check: Check, where: str, wanted: object, known: set[str]) -> bool:
    if not isinstance(wanted, list) or any(not isinstance(site, str) for site in wanted):
        check.complain(where, "Must be a list of site ids.")
        return False
    for site in wanted:
        if site not in known:
            check.complain(where, f"There is no site {site!r}.")
    if len(set(wanted)) != len(wanted):
        check.complain(where, "Names a site twice.")
    return True


def _differences(check: Check, where: str, row: _Row, values: Values, allowed: tuple[str, ...]) -> _Differences:
    """Set `values` on `row`; what that changes. Complains about every field that the row cannot have."""
    check.has_only(where, values, allowed)
    is_new = row._state.adding
    found: dict[str, tuple[Any, Any]] = {}
    for name, value in values.items():
        if name not in allowed or not _fits(check, f"{where}.{name}", row, value):
            continue
        old = getattr(row, name)
        if is_new or old != value:
            found[name] = (None if is_new else old, value)
        setattr(row, name, value)
    try:
        row.full_clean(validate_unique=False)
    except ValidationError as error:
        for name, messages in error.message_dict.items():
            place = where if name in ("__all__", "id") else f"{where}.{name}"
            check.complain(place, " ".join(messages))
    return found


def _fits(check: Check, where: str, row: _Row, value: object) -> bool:
    """Whether a value has the type of its field: text is not made of numbers here, nor numbers of text."""
    column = row._meta.get_field(where.rpartition(".")[2])
    wanted, said = _type_of(column)
    is_right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    if isinstance(value, list):
        is_right = is_right and all(isinstance(item, str) for item in value)
    if is_right or (value is None and getattr(column, "null", False)):
        return True
    check.complain(where, f"Must be {said}.")
    return False


def _type_of(column: object) -> tuple[type, str]:
    if isinstance(column, models.BooleanField):
        return bool, "true or false"
    if isinstance(column, models.IntegerField):
        return int, "a whole number"
    if isinstance(column, models.JSONField):
        return list, "a list of texts"
    return str, "a text (put it in quotes)"


def _save(row: _Row, fields: _Differences) -> None:
    is_new = row._state.adding
    if is_new:
        row.save(force_insert=True)
    elif names := [name for name in fields if name != "sites"]:
        row.save(update_fields=names)
    said = "registered" if is_new else f"{', '.join(fields)} changed"
    record(row, "log", {"level": "info", "message": f"{row._meta.model_name} {row.pk}: {said}"}, actor=ACTOR)


def _save_resource(row: Resource, fields: _Differences) -> None:
    _save(row, fields)
    if "sites" in fields:
        row.placements.all().delete()
        ResourceSite.objects.bulk_create(
            ResourceSite(resource=row, site_id=site, position=position)
            for position, site in enumerate(fields["sites"][1])
        )


def _digest(check: Check, key: str, values: Values) -> str | None:
    """The digest of a named model's parameters; None, with complaints, when they cannot be accepted."""
    where = f"models.{key}"
    is_good = check.has_only(where, values, _MODEL_FIELDS)
    if values.get("renderer", mandelbrot.RENDERER) != mandelbrot.RENDERER:
        check.complain(f"{where}.renderer", f"The only renderer with models is {mandelbrot.RENDERER!r}.")
        is_good = False
    if not isinstance(values.get("pinned", False), bool):
        check.complain(f"{where}.pinned", "Must be true or false.")
        is_good = False
    if not catalog.is_name(key):
        check.complain(where, "Use lower-case letters, digits, '-', '_' and '.' in its name.")
        is_good = False
    try:
        digest = mandelbrot.digest(mandelbrot.canonical(values.get("params")))
    except Invalid as error:
        for name, messages in error.errors.items():
            check.complain(f"{where}.{name}", " ".join(messages))
        return None
    return digest if is_good else None


def _is_alone(check: Check, key: str, digests: Mapping[str, str]) -> bool:
    """Whether nothing else has, or is to have, the parameters that this name is for."""
    others = [name for name, digest in digests.items() if digest == digests[key] and name != key]
    holder = RenderModel.objects.filter(renderer=mandelbrot.RENDERER, digest=digests[key]).first()
    # A name that the file gives to other parameters is free by the time it is needed.
    if holder and holder.name and holder.name != key and holder.name not in digests:
        others.append(holder.name)
    if others:
        check.complain(f"models.{key}", f"The same parameters have the name {others[0]!r}.")
    return not others


def _model(check: Check, key: str, values: Values, digests: Mapping[str, str]) -> Change:
    old = RenderModel.objects.filter(name=key).first()
    params = mandelbrot.canonical(values["params"])
    fields: dict[str, tuple[Any, Any]] = {}
    if old is None or old.digest != digests[key]:
        fields["params"] = (old.params if old else None, params)
    if "pinned" in values and (old is None or old.pinned != values["pinned"]):
        fields["pinned"] = (old.pinned if old else None, values["pinned"])
    return Change("model", key, old is None, fields, partial(_save_model, key, values, set(digests)))


def _save_model(key: str, values: Values, names: set[str]) -> None:
    """Give the name to the model with these parameters; it leaves the model that had it."""
    params = mandelbrot.canonical(values["params"])
    digest = mandelbrot.digest(params)
    with transaction.atomic():
        RenderModel.objects.filter(name=key).exclude(digest=digest).update(name=None)
        RenderModel.objects.filter(digest=digest, name__in=names - {key}).update(name=None)
        model, _ = catalog.render_model(mandelbrot.RENDERER, params, key)
        if "pinned" in values:
            RenderModel.objects.filter(pk=model.pk).update(pinned=values["pinned"])
