"""What a site is told to start: the settings of a resource in the words of `rrm.launchers`."""

from __future__ import annotations

import shlex
from datetime import timedelta

from django.conf import settings

from rrm.farm.models import Resource, Site
from rrm.farm.sites import is_tunnelled
from rrm.farm.tunnels import MANAGER_FILE
from rrm.launchers.base import Batch, NodeSpec


def spec_for(resource: Resource, site: Site, name: str, token: str) -> NodeSpec:
    """The node `name` of `resource` at `site`."""
    return NodeSpec(
        name=name,
        resource=resource.pk,
        manager_url=settings.RRM.manager_url,
        token=token,
        manager_file=MANAGER_FILE if is_tunnelled(site) else "",
        renderer=resource.renderer,
        arguments=_program(resource, site) if resource.renderer == Resource.Renderer.EXTERNAL else (),
        environment=variables(resource.environment_variables),
        modules=tuple(resource.modules.split()),
        prologue=resource.prologue,
        batch=_batch(resource),
    )


def _program(resource: Resource, site: Site) -> tuple[str, ...]:
    """Options of the agent that runs somebody else's program; the two formats are the first RRM's."""
    is_batch = site.kind == Site.Kind.SLURM
    words = resource.scheduler_rest_parameters_format if is_batch else resource.process_rest_parameters_format
    options = [f"--command={resource.command_line}", "--schema", f"rest{resource.pk}"]
    options += [f"--parameters={words}"] if words else []
    options += [] if resource.graceful_exit else ["--no-graceful-exit"]
    options += [] if resource.wait_until_running else ["--no-wait"]
    options += [] if site.is_remote else ["--hostname", "127.0.0.1"]
    return tuple(options)


def variables(text: str) -> dict[str, str]:
    """The first RRM's "A=1 B=2" as a mapping. Quotes keep blanks together as in a shell; other words are ignored."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that is never closed stands for itself
        words = text.split()
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals and name.isidentifier()}


def _batch(resource: Resource) -> Batch:
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
    )
