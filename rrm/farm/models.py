"""What the manager remembers. Constraints keep impossible rows out; `transitions.advance` alone writes a `state`."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from rrm.domain.states import JobState, LeaseState, NodeState

_slug = RegexValidator(r"\A[a-z0-9][a-z0-9_.-]*\Z", "Use lower-case letters, digits, '-', '_' and '.'.")
_in_order = Q(start__lt=F("stop"), cursor__gte=F("start"), cursor__lte=F("stop"))
_colour = RegexValidator(r"\A#[0-9a-fA-F]{6}\Z", "Use a colour like #1f77b4.")


def _choices(states: type[JobState] | type[LeaseState] | type[NodeState]) -> list[tuple[str, str]]:
    return [(state.value, state.value.capitalize()) for state in states]


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
    max_nodes = models.PositiveIntegerField(default=1)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.id


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
    demand_history = models.JSONField(default=list, blank=True, editable=False)
    last_plan = models.JSONField(default=dict, blank=True, editable=False)
    start_seconds = models.FloatField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(min_nodes__lte=F("max_nodes")), name="resource_min_within_max")
        ]

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
    state = models.CharField(max_length=12, choices=_choices(NodeState), default=NodeState.REQUESTED)
    state_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500, blank=True)
    handle = models.JSONField(default=dict, blank=True)
    hostname = models.CharField(max_length=255, blank=True)
    address = models.CharField(max_length=255, blank=True)
    version = models.CharField(max_length=50, blank=True)
    cores = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])
    launch_digest = models.CharField(max_length=64, blank=True, editable=False)
    token_digest = models.CharField(max_length=64, blank=True, editable=False)
    streak = models.PositiveIntegerField(default=0)
    tiles_done = models.PositiveIntegerField(default=0)
    busy_seconds = models.FloatField(default=0)
    requested_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
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


class HeldModel(models.Model):
    """A render model that a node says it holds, and how fast it works on it."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="held")
    model = models.ForeignKey(RenderModel, on_delete=models.CASCADE, related_name="holders")
    loaded_at = models.DateTimeField(default=timezone.now)
    last_used = models.DateTimeField(default=timezone.now)
    pixel_seconds = models.FloatField(null=True, blank=True, help_text="Measured seconds per pixel, moving average.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "model"], name="held_once")]


class Job(models.Model):
    """An asynchronous request, cut into tiles that no row stands for: `JobShare.cursor` and leases tell them apart."""

    class Kind(models.TextChoices):
        IMAGE = "image", "Image"
        RECOLOR = "recolor", "New colours for a finished job"

    class Priority(models.TextChoices):
        LOW = "low", "Low"
        NORMAL = "normal", "Normal"
        HIGH = "high", "High"
        URGENT = "urgent", "Urgent"

    class SitePolicy(models.TextChoices):
        ANY = "any", "Any site; the faster takes more"
        SPLIT = "split", "Equal parts for the sites named"
        ONLY = "only", "Only the sites named"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="jobs")
    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="jobs")
    model = models.ForeignKey(RenderModel, on_delete=models.PROTECT, related_name="jobs")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.IMAGE)
    source = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="recolorings", help_text="Whose values."
    )
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    tile_size = models.PositiveIntegerField()
    tile_cols = models.PositiveIntegerField()
    tile_rows = models.PositiveIntegerField()
    tiles = models.PositiveIntegerField()
    outputs = models.JSONField(default=list)
    coloring = models.JSONField(default=dict)
    palette = models.JSONField(default=dict, help_text="The colouring as nodes get it.")
    view = models.JSONField(default=dict, help_text="x0, y0, dx, dy of the sample grid.")
    preview_scale = models.PositiveIntegerField(default=1)
    supersample = models.PositiveIntegerField(default=1)
    adaptive = models.BooleanField(default=False, help_text="More samples only where neighbours differ.")
    priority = models.CharField(max_length=10, choices=Priority, default=Priority.NORMAL)
    site_policy = models.CharField(max_length=10, choices=SitePolicy, default=SitePolicy.ANY)
    site_ids = models.JSONField(default=list, blank=True)
    site_index = models.TextField(blank=True, editable=False, help_text="site_ids as |a|b|, to be searched in SQL.")
    deadline = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=12, choices=_choices(JobState), default=JobState.QUEUED)
    state_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500, blank=True)
    tiles_done = models.PositiveIntegerField(default=0)
    event_seq = models.PositiveIntegerField(default=0)
    composed_at = models.DateTimeField(null=True, editable=False, help_text="When somebody last worked on composing.")
    warm_hits = models.PositiveIntegerField(default=0)
    loads = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["state", "created_at"], name="job_state_age"),
            models.Index(fields=["owner", "created_at"], name="job_owner_age"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(JobState)), name="job_state_known"),
            models.CheckConstraint(condition=Q(tiles__gt=0, tiles_done__lte=F("tiles")), name="job_tiles_within"),
            models.CheckConstraint(
                condition=~Q(state__in=[JobState.COMPOSING, JobState.COMPLETED]) | Q(tiles_done=F("tiles")),
                name="job_complete_has_all_tiles",
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def rendered(self) -> list[str]:
        """What nodes render: what was asked for, and what the manager paints from."""
        extra = ["smooth"] if self.is_equalized and "smooth" not in self.outputs else []
        return [*self.outputs, *extra]

    @property
    def is_equalized(self) -> bool:
        """Whether its colours follow a histogram of the whole picture."""
        return bool(self.palette.get("method") == "histogram")

    @property
    def is_painted_here(self) -> bool:
        """Whether the manager paints the picture, once all values are known, and not the nodes tile by tile."""
        return self.kind == self.Kind.RECOLOR or (self.is_equalized and self.has_picture)

    @property
    def has_picture(self) -> bool:
        """Whether there is a full-size picture: also unasked, unless reduced ones stand in for it."""
        return "png" in self.outputs or self.preview_scale == 1


class JobShare(models.Model):
    """A range of a job's tiles to be given out; those from `cursor` on have not been.

    A job begins with one share (or one per site); a lease that comes back makes a new one. So each tile of a job is
    in exactly one of: the rest of a share, an ACTIVE lease, a DONE lease.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="shares")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    start = models.PositiveIntegerField()
    stop = models.PositiveIntegerField()
    cursor = models.PositiveIntegerField()
    at_most = models.PositiveIntegerField(null=True, blank=True, help_text="Tiles per lease, to find one that fails.")
    failures = models.PositiveIntegerField(default=0, help_text="How often these tiles have failed.")
    failed_on = models.JSONField(default=list, blank=True, help_text="Names of the nodes they failed on.")

    class Meta:
        ordering = ["start", "id"]
        constraints = [models.CheckConstraint(condition=_in_order, name="share_in_order")]


class Lease(models.Model):
    """A range of a job's tiles given to one node until `deadline`; its id is the fencing token."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="leases")
    share = models.ForeignKey(JobShare, on_delete=models.CASCADE, related_name="leases")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="leases")
    start = models.PositiveIntegerField()
    stop = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=_choices(LeaseState), default=LeaseState.ACTIVE)
    state_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500, blank=True)
    decision = models.CharField(max_length=20, help_text="Why this node got this work.")
    warm = models.BooleanField(default=False)
    deadline = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    render_ms = models.FloatField(default=0)
    size_bytes = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["job", "state", "start"], name="lease_job_range"),
            models.Index(fields=["node", "state"], name="lease_node_state"),
            models.Index(fields=["state", "deadline"], name="lease_deadline"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(LeaseState)), name="lease_state_known"),
            models.CheckConstraint(condition=Q(start__lt=F("stop")), name="lease_not_empty"),
            models.UniqueConstraint(
                fields=["job", "start"],
                condition=Q(state__in=[LeaseState.ACTIVE, LeaseState.DONE]),
                name="lease_one_holder",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} [{self.start}, {self.stop})"


class Event(models.Model):
    """What happened, in order; feeds the live pages, the audit trail and the replay of a broken stream."""

    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    kind = models.CharField(max_length=20)
    subject_type = models.CharField(max_length=20)
    subject_id = models.CharField(max_length=50)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, blank=True, related_name="events")
    seq = models.PositiveIntegerField(null=True, blank=True, help_text="Position in the job's own stream, gapless.")
    actor = models.CharField(max_length=150, blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["subject_type", "subject_id", "id"], name="event_subject")]
        constraints = [models.UniqueConstraint(fields=["job", "seq"], name="event_seq_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_type} {self.subject_id}"


class Token(models.Model):
    """A bearer token of a person or program. The secret itself is never stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class IdempotencyKey(models.Model):
    """The job that a client's `Idempotency-Key` made, so that the same request made twice makes one job."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]


class Loop(models.Model):
    """When each periodic loop last ran, and who runs it now."""

    name = models.CharField(max_length=50, primary_key=True)
    running_until = models.DateTimeField(null=True, blank=True)
    last_finished = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
