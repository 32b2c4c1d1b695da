"""What work costs, by what nodes measured: moving averages for each render model on each class of machines."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal
from uuid import UUID

from django.db import IntegrityError, transaction

from rrm.farm import statements
from rrm.farm.models import Estimate, Node

PRIOR_PIXEL_SECONDS = 1e-7
PRIOR_LOAD_SECONDS = 0.0
_SMOOTHING = 0.2  # weight of the newest measurement
_NEWS = 0.1  # what differs by less is not written down at once: all nodes of a class share the row
_OFTEN = timedelta(seconds=5)
_ALIKE = 100  # of the renderer's latest estimates, where nobody has measured the model

_Measure = Literal["pixel_seconds", "load_seconds"]
_Known = Mapping[UUID, Mapping[str, tuple[float | None, float | None]]]


@dataclass(frozen=True)
class Estimates:
    """What is known of some models. What a class of machines has not measured is taken from others.

    In this order: the mean of the classes at its site that measured the model, that of all classes, the median of the
    renderer's models, a constant.
    """

    known: _Known
    renderers: Mapping[UUID, str]

    def pixel_seconds(self, model: UUID, hardware: str | None = None) -> float:
        """Seconds per sample with all cores at work; above zero."""
        return max(self._one(0, model, hardware), 1e-12)

    def load_seconds(self, model: UUID, hardware: str | None = None) -> float:
        return self._one(1, model, hardware)

    def _one(self, which: Literal[0, 1], model: UUID, hardware: str | None) -> float:
        rows = self.known.get(model, {})
        measured = {name: seconds for name, row in rows.items() if (seconds := row[which]) is not None}
        if hardware in measured:
            return measured[hardware]
        near = [seconds for name, seconds in measured.items() if hardware and _site(name) == _site(hardware)]
        if known := near or list(measured.values()):
            return sum(known) / len(known)
        return self._priors[self.renderers.get(model, "")][which]

    @cached_property
    def _priors(self) -> Mapping[str, tuple[float, float]]:
        return _Priors()


def _site(hardware: str) -> str:
    return hardware.rpartition("/")[0]


class _Priors(dict[str, tuple[float, float]]):
    """The median of a renderer's models, asked for when a model is new; two numbers each."""

    def __missing__(self, renderer: str) -> tuple[float, float]:
        alike = Estimate.objects.filter(model__renderer=renderer).order_by("-measured_at")[:_ALIKE]
        rows = list(alike.values_list("pixel_seconds", "load_seconds"))
        self[renderer] = (
            _median((row[0] for row in rows), PRIOR_PIXEL_SECONDS),
            _median((row[1] for row in rows), PRIOR_LOAD_SECONDS),
        )
        return self[renderer]


def machines_at(sites: Collection[str] | None) -> str | None:
    """The machines whose measurements count where work may be done at these sites; None: all."""
    return f"{next(iter(sites))}/" if sites and len(sites) == 1 else None


def _median(values: Iterable[float | None], otherwise: float) -> float:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else otherwise


def of(models: Mapping[UUID, str]) -> Estimates:
    """What is known of these models (id → renderer); one query, and one more for each renderer with a new model."""
    known: dict[UUID, dict[str, tuple[float | None, float | None]]] = {}
    for row in Estimate.objects.filter(model__in=models):
        known.setdefault(row.model_id, {})[row.hardware] = (row.pixel_seconds, row.load_seconds)
    return Estimates(known, models)


def learn_speed(model: UUID, node: Node, seconds: float, now: datetime) -> None:
    """A sample of the model took a node so many seconds with all its cores."""
    _learn("pixel_seconds", model, node, seconds, now)


def learn_load(model: UUID, node: Node, seconds: float, now: datetime) -> None:
    """To load the model took a node so long."""
    _learn("load_seconds", model, node, seconds, now)


def _learn(measure: _Measure, model: UUID, node: Node, seconds: float, now: datetime) -> None:
    """Two nodes that write at the same time lose one measurement, which does no harm."""
    which = {"model": model, "hardware": node.hardware}
    rows = statements.select(Estimate, (measure, "measured_at"), which)
    if not rows:
        try:
            with transaction.atomic():
                Estimate.objects.create(model_id=model, hardware=node.hardware, measured_at=now, **{measure: seconds})
        except IntegrityError:  # another one of its class was faster
            return
        return
    known, at = rows[0]
    if known is None:
        statements.update(Estimate, which, {measure: seconds, "measured_at": now})
    elif now - at > _OFTEN or abs(seconds - known) > _NEWS * known:
        average = known + _SMOOTHING * (seconds - known)
        statements.update(Estimate, which, {measure: average, "measured_at": now})
