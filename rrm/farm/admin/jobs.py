"""Jobs and their leases: shown, with actions that call the use-cases of `rrm.farm.jobs`."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from rrm.domain.states import JOB_FINAL, JOB_OFFERED, JobState
from rrm.farm import jobs
from rrm.farm.admin.actions import Deed, operated_by
from rrm.farm.admin.base import ShownAdmin, badge, duration, link, page_of, progress, rows_of, swatch
from rrm.farm.models import Event, Job, Lease, Node, RenderModel, Resource
from rrm.farm.waiting import pending_reason

_DEEDS = (
    Deed(
        "cancel",
        "Cancel",
        "Cancel these jobs? What nodes are rendering of them is thrown away.",
        "cancelled",
        jobs.cancel,
        JOB_OFFERED | {JobState.PAUSED},
    ),
    Deed("pause", "Pause", "Give out no more of these jobs until they are resumed?", "paused", jobs.pause, JOB_OFFERED),
    Deed("resume", "Resume", "Offer these jobs to the nodes again?", "resumed", jobs.resume, {JobState.PAUSED}),
    Deed(
        "retry",
        "Retry",
        "Render what is missing of these jobs? Finished tiles are kept.",
        "queued again",
        jobs.retry,
        JOB_FINAL - {JobState.COMPLETED},
    ),
    Deed(
        "forget",
        "Delete with files",
        "Delete these finished jobs and all their files for good?",
        "deleted",
        jobs.delete,
        JOB_FINAL,
    ),
)


@admin.register(Job)
@operated_by(*_DEEDS)
class JobAdmin(ShownAdmin):
    list_display = (
        *("title", "shown_state", "shown_progress", "owner", "shown_resource", "shown_model"),
        *("priority", "created_at", "took", "links"),
    )
    list_filter = ("state", "priority", "resource", "site_policy")
    search_fields = ("id", "name", "owner__username", "model__name")
    search_help_text = "Id, name, owner or model"
    date_hierarchy = "created_at"
    list_select_related = ("owner", "resource", "model")
    fieldsets = (
        (None, {"fields": ("id", "name", "shown_state", "reason", "waiting", "shown_progress", "links")}),
        (
            "Order",
            {
                "fields": (
                    "owner",
                    "shown_resource",
                    "shown_model",
                    "size",
                    "outputs",
                    "coloring",
                    "priority",
                    "deadline",
                )
            },
        ),
        ("Where", {"fields": ("site_policy", "site_ids", "requires", "by_site")}),
        ("Course", {"fields": ("created_at", "started_at", "finished_at", "took", "warm_hits", "loads")}),
    )
    readonly_fields = (
        *("id", "shown_state", "waiting", "shown_progress", "links", "shown_resource", "shown_model"),
        *("size", "requires", "by_site", "took"),
    )

    @admin.display(description="Job", ordering="name")
    def title(self, job: Job) -> str:
        return job.name or str(job.pk)[:8]

    @admin.display(description="State", ordering="state")
    def shown_state(self, job: Job) -> SafeString:
        return badge(job.state)

    @admin.display(description="Progress")
    def shown_progress(self, job: Job) -> SafeString:
        return progress(job.tiles_done, job.tiles)

    @admin.display(description="Resource", ordering="resource")
    def shown_resource(self, job: Job) -> SafeString:
        return page_of(Resource, job.resource_id, job.resource_id)

    @admin.display(description="Model", ordering="model__name")
    def shown_model(self, job: Job) -> SafeString:
        return page_of(RenderModel, job.model_id, job.model)

    @admin.display(description="Took")
    def took(self, job: Job) -> str:
        return duration(job.started_at, job.finished_at or timezone.now())

    @admin.display(description="Size")
    def size(self, job: Job) -> str:
        return f"{job.width} x {job.height}, {job.tiles} tiles of {job.tile_size}"

    @admin.display(description="Why nothing is rendered")
    def waiting(self, job: Job) -> str:
        return pending_reason(job) or "-"

    @admin.display(description="Links")
    def links(self, job: Job) -> SafeString:
        return format_html(
            "{} · {} · {}",
            link(reverse("dashboard:job", args=[job.pk]), "page"),
            rows_of(Lease, "leases", job__id__exact=job.pk),
            rows_of(Event, "events", job__id__exact=job.pk),
        )

    @admin.display(description="By site")
    def by_site(self, job: Job) -> str:
        parts = jobs.by_site([job])[job.pk]
        return ", ".join(
            f"{part['site']}: {part['tiles']} tiles, {part['mean_render_ms']:.1f} ms each" for part in parts
        )


@admin.register(Lease)
class LeaseAdmin(ShownAdmin):
    list_display = (
        *("short_id", "shown_job", "shown_node", "shown_site", "tiles", "shown_state", "warm", "decision"),
        *("created_at", "took", "reason"),
    )
    list_filter = ("state", "warm", "decision", "node__site")
    search_fields = ("id", "job__id", "job__name", "node__name")
    search_help_text = "Id of the lease or job, or name of the job or node"
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    list_select_related = ("job", "node__site")
    fields = (
        *("id", "shown_job", "shown_node", "shown_site", "tiles", "shown_state", "reason", "decision", "warm"),
        *("created_at", "deadline", "finished_at", "took", "render_ms", "size_bytes"),
    )
    readonly_fields = ("id", "shown_job", "shown_node", "shown_site", "tiles", "shown_state", "took")

    @admin.display(description="Lease", ordering="id")
    def short_id(self, lease: Lease) -> str:
        return str(lease.pk)[:8]

    @admin.display(description="Job", ordering="job")
    def shown_job(self, lease: Lease) -> SafeString:
        return page_of(Job, lease.job_id, lease.job.name or str(lease.job_id)[:8])

    @admin.display(description="Node", ordering="node__name")
    def shown_node(self, lease: Lease) -> SafeString:
        return page_of(Node, lease.node_id, lease.node.name)

    @admin.display(description="Site", ordering="node__site")
    def shown_site(self, lease: Lease) -> SafeString:
        return swatch(lease.node.site.color, lease.node.site_id)

    @admin.display(description="Tiles", ordering="start")
    def tiles(self, lease: Lease) -> str:
        return f"{lease.start}…{lease.stop - 1} ({lease.stop - lease.start})"

    @admin.display(description="State", ordering="state")
    def shown_state(self, lease: Lease) -> SafeString:
        return badge(lease.state)

    @admin.display(description="Took")
    def took(self, lease: Lease) -> str:
        return duration(lease.created_at, lease.finished_at)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_view_permission(request)
