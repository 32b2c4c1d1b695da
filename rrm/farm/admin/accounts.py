"""Users, groups and tokens. A token's secret is shown once, in the answer to the form that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from rrm.domain.fairness import sound
from rrm.farm import quotas, tokens
from rrm.farm.admin.base import FarmAdmin, ModelForm
from rrm.farm.models import Quota, Token

if TYPE_CHECKING:
    from django.contrib.auth.admin import UserAdmin as _UserAdmin
    from django.contrib.auth.forms import AdminPasswordChangeForm, UserCreationForm
    from django.contrib.auth.forms import UserChangeForm as _UserChangeForm

    DjangoUserAdmin = _UserAdmin[User]
    UserChangeForm = _UserChangeForm[User]
else:
    from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, FarmAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, FarmAdmin):
    pass


class _QuotaForm(ModelForm):
    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for field in [field for field in quotas.FIELDS if field in cleaned]:
            if said := quotas.complaint(field, cleaned[field]):
                self.add_error(field, said)
        return cleaned


@admin.register(Quota)
class QuotaAdmin(FarmAdmin):
    """A person's share of the farm; everybody who ever had a job or a session is here."""

    form = _QuotaForm
    list_display = ("owner", "weight", "shown_nodes", "shown_pixels", "shown_sessions", "shown_charge")
    list_select_related = ("owner",)
    search_fields = ("owner__username",)
    search_help_text = "User"
    fields = ("owner", "weight", *quotas.LIMITS, "shown_charge")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return ("shown_charge", "owner") if obj else ("shown_charge",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quota]:
        return quotas.with_usage(super().get_queryset(request))

    @admin.display(description="Charged seconds", ordering="charged_seconds")
    def shown_charge(self, quota: Quota) -> str:
        return f"{sound(quota.charged_seconds):.3f}"

    @admin.display(description="Nodes at work")
    def shown_nodes(self, quota: Quota) -> str:
        return _of(quota.used_nodes or 0, quota.max_nodes)  # type: ignore[attr-defined]  # from get_queryset

    @admin.display(description="Queued pixels")
    def shown_pixels(self, quota: Quota) -> str:
        return _of(quota.used_pixels or 0, quota.max_queued_pixels)  # type: ignore[attr-defined]  # from get_queryset

    @admin.display(description="Open sessions")
    def shown_sessions(self, quota: Quota) -> str:
        return _of(quota.used_sessions or 0, quota.max_sessions)  # type: ignore[attr-defined]  # from get_queryset

    def save_model(self, request: HttpRequest, obj: Quota, form: Any, change: bool) -> None:
        changes = {field: form.cleaned_data[field] for field in form.changed_data if field != "owner"}
        obj.pk = quotas.change(obj.owner, changes, request.user.get_username()).pk


def _of(used: int, most: int | None) -> str:
    return f"{used:,}" if most is None else f"{used:,} of {most:,}"


class _TokenForm(ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in tokens.SCOPES],
        widget=forms.CheckboxSelectMultiple,
        help_text="read: look; render: jobs of one's own; operate: everything of everyone.",
    )

    class Meta:
        model = Token
        fields = ("user", "name", "scopes", "expires_at")

    def clean_expires_at(self) -> Any:
        instant = self.cleaned_data["expires_at"]
        if instant is not None and instant <= timezone.now():
            raise forms.ValidationError("Must be in the future.")
        return instant


@admin.register(Token)
class TokenAdmin(FarmAdmin):
    """Tokens are issued and revoked, never changed. Only a superuser may issue one, as it may be for anybody."""

    form = _TokenForm
    list_display = ("name", "recognised_by", "user", "shown_scopes", "expires_at", "last_used_at", "created_at")
    list_filter = ("user", "expires_at", "last_used_at")
    search_fields = ("name", "prefix", "user__username")
    search_help_text = "Name, beginning of the secret, or user"
    list_select_related = ("user",)
    fields = ("user", "name", "scopes", "expires_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.display(description="Begins with", ordering="prefix")
    def recognised_by(self, token: Token) -> str:
        return f"{token.prefix}…"

    @admin.display(description="Scopes")
    def shown_scopes(self, token: Token) -> str:
        return ", ".join(token.scopes)

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        issued, secret = tokens.issue(obj.user, obj.name, obj.scopes, obj.expires_at)
        obj.__dict__.update(issued.__dict__)
        obj.secret = secret  # type: ignore[attr-defined]  # lives as long as this request

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: str | None = None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Token {obj.name}",
            "opts": self.opts,
            "token": obj,
            "secret": obj.secret,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin/farm/token_issued.html", context, headers={"Cache-Control": "no-store"})
