"""What a site is told to start: the settings of a resource in the words of `rrm.launchers`."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from rrm.farm import blocking
from rrm.farm.models import Resource, Site
from rrm.farm.sites import is_tunnelled
from rrm.farm.tunnels import MANAGER_FILE
from rrm.launchers.base import Batch, NodeSpec


def spec_for(
    registered: Resource, site: Site, name: str, token: str, overrides: Mapping[str, Any] | None = None
) -> NodeSpec:
    """The node `name` of a resource at `site`; `overrides` are options for this node in place of the resource's.

    `params` among them are more words for the program, `environment` more variables, `reservation` one of the batch
    system, `session` the session that the node is for.
    """
    own = overrides or {}
    resource = tailored(registered, own)
    schema = f"rest{resource.pk}{own.get('session', '')}"
    return NodeSpec(
        name=name,
        resource=resource.pk,
        manager_url=settings.RRM.manager_url,
        token=token,
        manager_file=MANAGER_FILE if is_tunnelled(site) else "",
        renderer=resource.renderer,
        arguments=_program(resource, site, schema) if resource.renderer == Resource.Renderer.EXTERNAL else (),
        environment=variables(resource.environment_variables),
        modules=tuple(resource.modules.split()),
        prologue=resource.prologue,
        batch=_batch(resource, blocking.machines(site, resource.renderer, timezone.now())),
    )


_OWN = ("nb_nodes", "nb_cpus", "nb_gpus", "memory", "queue", "exclusive", "time_limit")


def tailored(resource: Resource, overrides: Mapping[str, Any]) -> Resource:
    """A copy of the resource with these options, never to be saved."""
    own = copy.copy(resource)
    for name in _OWN:
        if overrides.get(name):
            setattr(own, name, overrides[name])
    own.environment_variables = " ".join(filter(None, (resource.environment_variables, overrides.get("environment"))))
    for name in ("process_rest_parameters_format", "scheduler_rest_parameters_format"):
        setattr(own, name, " ".join(filter(None, (getattr(resource, name), overrides.get("params")))))
    if overrides.get("reservation"):
        own.extra_directives = [*resource.extra_directives, f"--reservation={overrides['reservation']}"]
    return own


def _program(resource: Resource, site: Site, schema: str) -> tuple[str, ...]:
    """Options of the agent that runs somebody else's program; the two formats are the first RRM's."""
    is_batch = site.kind == Site.Kind.SLURM
    words = resource.scheduler_rest_parameters_format if is_batch else resource.process_rest_parameters_format
    options = [f"--command={resource.command_line}", "--schema", schema]
    options += [f"--parameters={words}"] if words else []
    options += [] if resource.graceful_exit else ["--no-graceful-exit"]
    options += [] if resource.wait_until_running else ["--no-wait"]
    options += [] if site.is_remote else ["--hostname", "127.0.0.1"]
    return tuple(options)


def variables(text: str) -> dict[str, str]:
    """The first RRM's "A=1 B=2" as a mapping. Quotes keep blanks together as in a shell; other words are ignored."""
    pairs = (word.partition("=") for word in _words(text) if _is_variable(word))
    return {name: value for name, _, value in pairs}


def stray_words(text: str) -> str:
    """What is wrong with variables that somebody writes now: words that would be ignored. Empty when nothing is."""
    stray = [word for word in _words(text) if not _is_variable(word)]
    return f"Must be NAME=VALUE, separated by blanks; {stray[0]!r} is none." if stray else ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is never closed stands for itself
        return text.split()


def _is_variable(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def _batch(resource: Resource, exclude: Sequence[str]) -> Batch:
    return Batch(
        account=resource.project,
        partition=resource.queue,
        nodes=max(1, resource.nb_nodes),
        cpus=max(1, resource.nb_cpus),
        gpus=resource.nb_gpus,
        memory=resource.memory,
        exclusive=resource.exclusive,
        time_limit=timedelta(seconds=resource.time_limit),
        extra_directives=tuple(resource.extra_directives),
        skip_directives=tuple(resource.skip_directives),
        exclude=tuple(exclude),
    )
