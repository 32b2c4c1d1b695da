"""Sites, resources and render models: registered by people, so people may edit them here."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from rrm.domain.states import NODE_LIVE
from rrm.errors import Invalid, LauncherError
from rrm.farm import catalog, checking, keys, quarantine, sites, specs, wakeups
from rrm.farm.admin.actions import Deed, operated_by
from rrm.farm.admin.base import FarmAdmin, ModelForm, TabularInline, page_of, rows_of, swatch
from rrm.farm.models import Job, Node, RenderModel, Resource, ResourceSite, Site
from rrm.farm.transitions import record


def enable(row: Site | Resource, actor: str) -> None:
    """New nodes may be started, and a resource takes jobs, again."""
    _switch(row, True, actor)


def disable(row: Site | Resource, actor: str) -> None:
    """Start no more nodes, and take no more jobs. Nodes that run go on."""
    _switch(row, False, actor)


def _switch(row: Site | Resource, enabled: bool, actor: str) -> None:
    if not type(row)._default_manager.filter(pk=row.pk, enabled=not enabled).update(enabled=enabled):
        return
    _tell(row, "enabled" if enabled else "disabled", actor)


def _tell(row: Site | Resource, what: str, actor: str) -> None:
    noun = row._meta.model_name
    record(row, "log", {"level": "info", "message": f"{noun} {row.pk}: {what} by {actor}"}, actor=actor)
    wakeups.wake("rrm.autoscale")
    wakeups.announce_work()


_DEEDS = (
    Deed("enable", "Enable", "Enable these? Nodes may be started for them again.", "enabled", enable),
    Deed(
        "disable",
        "Disable",
        "Disable these? No more nodes are started for them; those that run go on.",
        "disabled",
        disable,
    ),
)


@operated_by(*_DEEDS)
class _SwitchedAdmin(FarmAdmin):
    """What can be enabled and disabled; every change by hand is recorded with who made it."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        live = Count("nodes", filter=Q(nodes__state__in=NODE_LIVE), distinct=True)
        counted: QuerySet[Any] = super().get_queryset(request).annotate(live_nodes=live)
        return counted

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        fixed = tuple(super().get_readonly_fields(request, obj))
        return (*fixed, "id") if obj else fixed

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        what = f"{', '.join(form.changed_data)} changed" if change else "registered"
        _tell(obj, what, request.user.get_username())

    @admin.display(description="Live nodes", ordering="live_nodes")
    def shown_nodes(self, row: Any) -> SafeString:
        filters = {f"{row._meta.model_name}__id__exact": row.pk}
        return rows_of(Node, f"{row.live_nodes} of {row.max_nodes}", **filters)


class _TagsField(forms.CharField):
    """Tags as people write them: with commas or blanks between."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        return sorted({*str(value or "").replace(",", " ").split()})


class _SiteForm(ModelForm):
    capabilities = _TagsField(
        required=False, help_text="What its machines can do, as in: gpu, avx512. Jobs may require it."
    )

    class Meta:
        model = Site
        exclude = ()
        widgets = {"color": forms.TextInput(attrs={"type": "color"})}

    def clean_identity(self) -> str:
        name: str = self.cleaned_data["identity"]
        try:
            keys.check(name)
        except Invalid as invalid:
            raise forms.ValidationError(invalid.errors["identity"]) from None
        return name


def bootstrap(site: Site, actor: str) -> None:
    """Bring the renderers to the site. Raises LauncherError."""
    sites.bring_renderers(site, actor)


def examine(site: Site, actor: str) -> None:
    """Raises LauncherError with what is wrong at the site."""
    found = checking.check(site)
    wrong = [f"{each.name}: {each.detail}" for each in found if not each.ok and each.was_tried]
    if wrong:
        raise LauncherError(" ".join(wrong))


_SITE_DEEDS = (
    Deed(
        "examine",
        "Check",
        "Try whether nodes could work at these? It takes half a minute for each at most.",
        "is well",
        examine,
    ),
    Deed(
        "bootstrap",
        "Bring renderers",
        "Bring this version of the renderers to these sites, where it is not there yet?",
        "has the renderers of this version",
        bootstrap,
    ),
)


@admin.register(Site)
@operated_by(*_DEEDS, *_SITE_DEEDS)
class SiteAdmin(_SwitchedAdmin):
    form = _SiteForm
    list_display = ("id", "shown_name", "kind", "enabled", "host", "shown_nodes", "connection", "problem")
    list_filter = ("kind", "enabled")
    search_fields = ("id", "name", "host")
    fieldsets = (
        (
            None,
            {"fields": ("id", "name", "kind", "color", "max_nodes", "max_parallel_loads", "capabilities", "enabled")},
        ),
        (
            "Reached over SSH",
            {
                "fields": (
                    *("host", "port", "username", "identity", "host_key", "connection", "gateway"),
                    *("python", "directory", "poll_interval", "problem", "problem_since"),
                )
            },
        ),
    )
    readonly_fields = ("problem", "problem_since")

    @admin.display(description="Name", ordering="name")
    def shown_name(self, site: Site) -> SafeString:
        return swatch(site.color, site.name or site.pk)


class _PlacementInline(TabularInline):
    model = ResourceSite
    extra = 0
    fields = ("position", "site")
    verbose_name = "site"
    verbose_name_plural = "sites, in order of preference"


class _ResourceForm(ModelForm):
    class Meta:
        model = Resource
        exclude = ()

    def clean_environment_variables(self) -> str:
        text: str = self.cleaned_data["environment_variables"]
        if "environment_variables" in self.changed_data and (said := specs.stray_words(text)):
            raise forms.ValidationError(said)
        return text


@admin.register(Resource)
class ResourceAdmin(_SwitchedAdmin):
    form = _ResourceForm
    list_display = ("id", "name", "renderer", "enabled", "shown_sites", "shown_nodes", "min_nodes", "standby", "reason")
    list_filter = ("renderer", "enabled", "sites")
    search_fields = ("id", "name", "description")
    inlines = [_PlacementInline]
    fieldsets = (
        (None, {"fields": ("id", "name", "description", "renderer", "enabled")}),
        ("How many nodes", {"fields": ("min_nodes", "max_nodes", "standby", "idle_timeout", "time_limit")}),
        (
            "Scheduler",
            {
                "fields": (
                    *("project", "queue", "exclusive", "nb_nodes", "nb_cpus", "nb_gpus", "memory"),
                    *("modules", "environment_variables", "prologue", "extra_directives", "skip_directives"),
                )
            },
        ),
        (
            "Program of your own",
            {
                "fields": (
                    *("command_line", "process_rest_parameters_format", "scheduler_rest_parameters_format"),
                    *("graceful_exit", "wait_until_running"),
                )
            },
        ),
        ("Autoscaler", {"fields": ("reason", "launch_failures", "retry_at", "start_seconds", "last_plan")}),
    )
    readonly_fields = ("reason", "launch_failures", "retry_at", "start_seconds", "last_plan")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Resource]:
        return super().get_queryset(request).prefetch_related("placements__site")

    @admin.display(description="Sites")
    def shown_sites(self, resource: Resource) -> SafeString | str:
        places = [(swatch(place.site.color, place.site_id),) for place in resource.placements.all()]
        return format_html_join(", ", "{}", places) or "none"


class _ModelForm(ModelForm):
    """Equal parameters are one model: adding some that are there already names and shows that one."""

    class Meta:
        model = RenderModel
        fields = ("name", "params", "pinned")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors or "params" not in cleaned:
            return cleaned
        try:
            model, _ = catalog.render_model("mandelbrot", cleaned["params"], cleaned.get("name") or None)
        except Invalid as error:
            for field, said in error.errors.items():
                self.add_error("name" if field == "name" else "params", [f"{field}: {text}" for text in said])
            return cleaned
        self.instance = model
        return {**cleaned, "params": model.params, "name": model.name}


_MODEL_DEEDS = (
    Deed(
        "lift_quarantine",
        "Lift quarantine",
        "Let nodes load these models again now?",
        "may be loaded",
        quarantine.lift,
    ),
)


@admin.register(RenderModel)
@operated_by(*_MODEL_DEEDS)
class RenderModelAdmin(FarmAdmin):
    form = _ModelForm
    list_display = (
        "title",
        "name",
        "renderer",
        "summary",
        "pinned",
        "load_seconds",
        "quarantined_until",
        "could_not_load",
        "held_by",
        "shown_jobs",
        "created_at",
    )
    list_filter = ("renderer", "pinned", ("name", admin.EmptyFieldListFilter))
    search_fields = ("id", "name", "digest")
    search_help_text = "Id, name or digest"
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[RenderModel]:
        models: QuerySet[RenderModel] = super().get_queryset(request)
        return models.annotate(job_count=Count("jobs", distinct=True)).prefetch_related("holders__node")

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "params", "pinned")
        return ("name", "pinned", *self.get_readonly_fields(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        facts = (
            "id",
            "renderer",
            "params",
            "digest",
            "size_bytes",
            "load_seconds",
            "could_not_load",
            "quarantined_until",
            "held_by",
            "shown_jobs",
            "created_at",
        )
        return facts if obj else ()

    @admin.display(description="Model", ordering="digest")
    def title(self, model: RenderModel) -> str:
        return str(model)

    @admin.display(description="View")
    def summary(self, model: RenderModel) -> str:
        params = model.params
        where = params.get("viewport") or [*params.get("center", ()), params.get("radius")]
        return f"{', '.join(map(str, where))}; {params.get('max_iter')} iterations"

    @admin.display(description="Could not be loaded on")
    def could_not_load(self, model: RenderModel) -> str:
        return ", ".join(quarantine.could_not_load(model, timezone.now())) or "-"

    @admin.display(description="Held by")
    def held_by(self, model: RenderModel) -> SafeString | str:
        holders = [(page_of(Node, holder.node_id, holder.node.name),) for holder in model.holders.all()]
        return format_html_join(", ", "{}", holders) or "-"

    @admin.display(description="Jobs", ordering="job_count")
    def shown_jobs(self, model: RenderModel) -> SafeString:
        count: int = model.job_count  # type: ignore[attr-defined]  # from get_queryset
        return rows_of(Job, count, model__id__exact=model.pk)
