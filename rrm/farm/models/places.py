"""Where pictures are rendered, and with what: sites, resources, render models, and the nodes that run."""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from rrm.domain import capabilities
from rrm.domain.states import NodeState
from rrm.farm.models.states import choices

_slug = RegexValidator(r"\A[a-z0-9][a-z0-9_.-]*\Z", "Use lower-case letters, digits, '-', '_' and '.'.")
_colour = RegexValidator(r"\A#[0-9a-fA-F]{6}\Z", "Use a colour like #1f77b4.")
MOST_NODES = 100_000
"""That a site or a resource may have; plans, and forecasts for people, go through the places of each."""


def _check_most(max_nodes: object) -> None:
    """Raises ValidationError where more nodes are allowed than any farm has."""
    if isinstance(max_nodes, int) and max_nodes > MOST_NODES:
        raise ValidationError({"max_nodes": f"Ensure this value is less than or equal to {MOST_NODES}."})


def check_tags(value: object) -> None:
    """Raises ValidationError for what is no list of capabilities."""
    try:
        capabilities.parse(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


class Site(models.Model):
    """Where nodes can run."""

    class Kind(models.TextChoices):
        LOCAL = "local", "This machine"
        SSH = "ssh", "SSH host"
        SLURM = "slurm", "Slurm cluster over SSH"

    class Connection(models.TextChoices):
        DIRECT = "direct", "Direct"
        TUNNEL = "tunnel", "Through the site's SSH connection"

    id = models.CharField(max_length=50, primary_key=True, validators=[_slug])
    name = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.LOCAL)
    color = models.CharField(max_length=7, default="#3b82f6", validators=[_colour])
    host = models.CharField(max_length=255, blank=True)
    port = models.PositiveIntegerField(default=22)
    username = models.CharField(max_length=100, blank=True)
    identity = models.CharField(max_length=255, blank=True, help_text="Name of a key file in the key directory.")
    host_key = models.TextField(blank=True)
    connection = models.CharField(max_length=10, choices=Connection, default=Connection.DIRECT)
    gateway = models.CharField(
        max_length=255, blank=True, help_text="How nodes reach the host of the tunnel; empty: by its own name."
    )
    python = models.CharField(
        max_length=255, default="python3", help_text="The Python there that runs renderers; a name or an absolute path."
    )
    directory = models.CharField(
        max_length=255, default=".rrm", help_text="RRM's folder there, in the account's home unless absolute."
    )
    poll_interval = models.PositiveIntegerField(
        default=10, validators=[MinValueValidator(1)], help_text="Seconds between two questions to the site at least."
    )
    max_nodes = models.PositiveIntegerField(default=1)
    max_parallel_loads = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Models that its nodes may load at the same time; empty is no limit.",
    )
    capabilities = models.JSONField(
        default=list,
        blank=True,
        validators=[check_tags],
        help_text="What its machines can do: tags that jobs may require.",
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    # What the process that talks to the site last found out.
    problem = models.CharField(max_length=500, blank=True, editable=False)
    problem_since = models.DateTimeField(null=True, blank=True, editable=False)
    asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    tunnel_port = models.PositiveIntegerField(default=0, editable=False)
    traffic = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        ordering = ["id"]

    def clean(self) -> None:
        """Raises ValidationError where it may have more nodes than any farm has."""
        _check_most(self.max_nodes)

    def __str__(self) -> str:
        return self.id

    @property
    def is_remote(self) -> bool:
        """Whether it is reached over SSH."""
        return self.kind != self.Kind.LOCAL


class Resource(models.Model):
    """A registered rendering resource: which renderer, where, with which options and how many nodes."""

    class Renderer(models.TextChoices):
        MANDELBROT = "mandelbrot", "Mandelbrot (ships with RRM)"
        EXTERNAL = "external", "Any HTTP program"

    id = models.CharField(max_length=50, primary_key=True, validators=[_slug])
    name = models.CharField(max_length=4096, blank=True)
    description = models.CharField(max_length=4096, blank=True)
    renderer = models.CharField(max_length=20, choices=Renderer, default=Renderer.MANDELBROT)
    sites = models.ManyToManyField(Site, through="ResourceSite", related_name="resources")
    enabled = models.BooleanField(default=True)

    command_line = models.CharField(max_length=1024, blank=True)
    environment_variables = models.CharField(max_length=4096, blank=True)
    modules = models.CharField(max_length=4096, blank=True)
    process_rest_parameters_format = models.CharField(max_length=1024, blank=True)
    scheduler_rest_parameters_format = models.CharField(max_length=1024, blank=True)
    project = models.CharField(max_length=256, blank=True)
    queue = models.CharField(max_length=256, blank=True)
    exclusive = models.BooleanField(default=False)
    nb_nodes = models.PositiveIntegerField(default=0)
    nb_cpus = models.PositiveIntegerField(default=1)
    nb_gpus = models.PositiveIntegerField(default=0)
    memory = models.PositiveIntegerField(default=0, help_text="MiB; 0 leaves it to the site.")
    graceful_exit = models.BooleanField(default=True)
    wait_until_running = models.BooleanField(default=True)

    min_nodes = models.PositiveIntegerField(default=0)
    max_nodes = models.PositiveIntegerField(default=1)
    standby = models.PositiveIntegerField(default=0, help_text="Nodes kept beyond what the work needs.")
    idle_timeout = models.PositiveIntegerField(null=True, blank=True, help_text="Seconds; empty lets RRM choose.")
    time_limit = models.PositiveIntegerField(default=0, help_text="Seconds a node may live; 0 is no limit.")
    prologue = models.TextField(blank=True)
    extra_directives = models.JSONField(default=list, blank=True)
    skip_directives = models.JSONField(default=list, blank=True)

    # The autoscaler's memory: instants, so that any process may take the next step.
    reason = models.CharField(max_length=500, blank=True, editable=False)
    launch_failures = models.PositiveIntegerField(default=0, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    up_since = models.DateTimeField(null=True, blank=True, editable=False)
    surplus_since = models.DateTimeField(null=True, blank=True, editable=False)
    demand_history = models.JSONField(default=list, blank=True, editable=False)
    last_plan = models.JSONField(default=dict, blank=True, editable=False)
    start_seconds = models.FloatField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(min_nodes__lte=F("max_nodes")), name="resource_min_within_max")
        ]

    def clean(self) -> None:
        """Raises ValidationError where the settings do not go together."""
        _check_most(self.max_nodes)
        if self.min_nodes > self.max_nodes:
            raise ValidationError({"min_nodes": "Must not be more than max_nodes."})
        if self.renderer == self.Renderer.EXTERNAL and not self.command_line.strip():
            raise ValidationError({"command_line": "An external renderer needs the command that starts it."})

    def machines_at(self, site: Site) -> int:
        """How many nodes one launch there gives: a batch job runs a renderer on each of its machines."""
        return max(1, self.nb_nodes) if site.kind == Site.Kind.SLURM else 1

    def __str__(self) -> str:
        return self.id


class ResourceSite(models.Model):
    """A site of a resource, in order of preference."""

    resource = models.ForeignKey(Resource, on_delete=models.CASCADE, related_name="placements")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="placements")
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["resource", "site"], name="resource_site_once")]

    def __str__(self) -> str:
        return f"{self.resource_id} at {self.site_id}"


class RenderModel(models.Model):
    """What a node loads once and keeps. Equal parameters are the same row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, null=True, blank=True, unique=True, validators=[_slug])
    renderer = models.CharField(max_length=20, default="mandelbrot")
    params = models.JSONField()
    digest = models.CharField(max_length=64, editable=False)
    pinned = models.BooleanField(default=False, help_text="A node that holds it keeps it, and is kept.")
    size_bytes = models.BigIntegerField(null=True, blank=True, editable=False)
    load_seconds = models.FloatField(null=True, blank=True, editable=False)
    load_failures = models.JSONField(
        default=list, blank=True, editable=False, help_text="[node, seconds since 1970] of each that failed lately."
    )
    quarantined_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Until then no node is asked to load it."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["renderer", "digest"], name="model_content_addressed")]

    def __str__(self) -> str:
        return self.name or f"{self.renderer} {self.digest[:12]}"


class Node(models.Model):
    """One renderer process: asked for, seen by its site, checked in, gone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="nodes")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="nodes")
    state = models.CharField(max_length=12, choices=choices(NodeState), default=NodeState.REQUESTED)
    state_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500, blank=True)
    handle = models.JSONField(default=dict, blank=True)
    hostname = models.CharField(max_length=255, blank=True)
    machine = models.CharField(
        max_length=255, blank=True, help_text="What its site's scheduler calls the machine; empty: it is the host."
    )
    address = models.CharField(max_length=255, blank=True)
    version = models.CharField(max_length=50, blank=True)
    cores = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])
    overrides = models.JSONField(default=dict, blank=True, help_text="Of the resource's options, for this node alone.")
    reserved_for = models.UUIDField(null=True, blank=True, help_text="The session that it was started for.")
    launch_digest = models.CharField(max_length=64, blank=True, editable=False)
    token_digest = models.CharField(max_length=64, blank=True, editable=False)
    streak = models.PositiveIntegerField(default=0, help_text="Leases since the last load that kept it waiting.")
    streak_since = models.DateTimeField(null=True, blank=True, help_text="When that load was, or will be, over.")
    tiles_done = models.PositiveIntegerField(default=0)
    busy_seconds = models.FloatField(default=0)
    blames = models.PositiveIntegerField(default=0, help_text="Ranges it failed lately that other nodes completed.")
    requested_at = models.DateTimeField(default=timezone.now)
    running_since = models.DateTimeField(null=True, blank=True, help_text="When its site first saw it run.")
    started_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="When its site will end it.")
    last_heartbeat = models.DateTimeField(null=True, blank=True)
    idle_since = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-requested_at", "id"]
        indexes = [
            models.Index(fields=["state", "resource"], name="node_state_resource"),
            models.Index(fields=["token_digest"], name="node_token"),
            models.Index(fields=["launch_digest"], name="node_launch_token"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(NodeState)), name="node_state_known"),
            models.CheckConstraint(
                condition=~Q(state__in=[NodeState.IDLE, NodeState.BUSY, NodeState.BOOKED])
                | Q(token_digest__gt="", last_heartbeat__isnull=False),
                name="node_working_has_checked_in",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def place(self) -> str:
        """The machine that it is on, as its site knows it."""
        return self.machine or self.hostname

    @property
    def takes_ranges(self) -> bool:
        """Whether it renders for jobs, and not for the person who has it alone."""
        return self.state in (NodeState.IDLE, NodeState.BUSY) and self.reserved_for is None

    @property
    def hardware(self) -> str:
        """Its class: nodes of one site with as many cores are taken to be equally fast."""
        return f"{self.site_id}/{self.cores}"


class HeldModel(models.Model):
    """A render model that a node says it holds, and how fast it works on it."""

    # Not indexed alone: the constraint below has an index that begins with it.
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="held", db_index=False)
    model = models.ForeignKey(RenderModel, on_delete=models.CASCADE, related_name="holders")
    loaded_at = models.DateTimeField(default=timezone.now)
    last_used = models.DateTimeField(default=timezone.now)
    loading = models.BooleanField(default=False, help_text="It was told to load it and has not said that it has.")
    pixel_seconds = models.FloatField(null=True, blank=True, help_text="Measured seconds per pixel, moving average.")
    load_seconds = models.FloatField(null=True, blank=True, help_text="How long loading it took, as the node says.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "model"], name="held_once")]
