"""`manage.py plan`: what the autoscaler would do now, and why; nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from rrm.domain.autoscaling import ModelWork
from rrm.farm import scaling
from rrm.farm.models import RenderModel, Resource

_ROW = "{:<24} {:>12} {:>12} {:>8}"


class Command(BaseCommand):
    help = "Show what the autoscaler would do now, and change nothing. Exit status 1: there is no such resource."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--resource", metavar="ID", help="only this one; what it shares with others is counted")
        parser.add_argument("--explain", action="store_true", help="also say how the numbers come about")
        parser.add_argument("--json", action="store_true", help="print it for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        now, wanted = timezone.now(), options["resource"]
        if wanted is not None and not Resource.objects.filter(pk=(wanted := wanted.lower())).exists():
            raise CommandError(f"There is no resource {options['resource']!r}.")
        planned = [each for each in scaling.plans(now) if wanted in (None, each.resource.pk)]
        if options["json"]:
            bodies = {each.resource.pk: _body(each, scaling.shown(each, now)) for each in planned}
            self.stdout.write(json.dumps(bodies, indent=2))
            return
        for each in planned:
            self.stdout.write("\n".join(_told(each, scaling.shown(each, now), in_full=options["explain"])))


def _body(planned: scaling.Planned, shown: Mapping[str, Any]) -> dict[str, Any]:
    work = [
        {"model": each.model, "render_seconds": each.render_seconds, "load_seconds": each.load_seconds}
        for each in planned.plan.reckoning.work
    ]
    return {**shown, "work": work, "because": scaling.explained(planned)}


def _told(planned: scaling.Planned, shown: Mapping[str, Any], *, in_full: bool) -> Iterator[str]:
    yield f"{planned.resource.pk}: {shown['reason']}"
    yield from _moves(shown)
    if in_full:
        yield from (f"  {sentence}" for sentence in scaling.explained(planned))
        yield from _table(planned.plan.reckoning.work)
        for need in shown["needs"]:
            yield f"  Only {', '.join(need['sites'])} may do some of it: {need['nodes']} wanted there."


def _moves(shown: Mapping[str, Any]) -> Iterator[str]:
    for site, count in shown["launch"].items():
        yield f"  launch {count} at {site}"
    for name in shown["drain"]:
        yield f"  let {name} go, which is idle"
    for node in shown["beyond"]:
        yield f"  let {node['node']} go, which is {node['limit']}"
    for name in shown["pinned"]:
        yield f"  keep {name}, which holds a pinned model, in a place that work bound elsewhere waits for"
    for name in shown["retire"]:
        yield f"  retire {name}, whose time ends"
    for move in shown["make_place"]:
        yield f"  let {move['node']} go, for {move['resource']}"


def _table(work: tuple[ModelWork, ...]) -> Iterator[str]:
    if not work:
        return
    names = {str(model.pk): str(model) for model in RenderModel.objects.filter(pk__in=[each.model for each in work])}
    yield "  " + _ROW.format("model", "rendering s", "loading s", "tiles")
    for each in work:
        name = names.get(each.model, each.model)[:24]
        yield "  " + _ROW.format(name, f"{each.render_seconds:.1f}", f"{each.load_seconds:.1f}", each.ranges)
