"""Is it alive, can it work, and how is it doing: the routes for supervisors, load balancers and Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from rrm.api.auth import Scope
from rrm.api.metrics import FarmCollector
from rrm.api.views import ApiView
from rrm.farm.snapshot import loops

_BROKER_SECONDS = 1.0


@require_safe
@never_cache
def alive(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database, the broker and every loop are well; 503 with what is wrong otherwise."""
    checks = [_checked("database", _ask_database), _checked("broker", _ask_broker), _checked("loops", _ask_loops)]
    is_ready = all(check["ok"] for check in checks)
    status, word = (200, "ready") if is_ready else (503, "not ready")
    return JsonResponse({"status": word, "checks": checks}, status=status)


class Metrics(ApiView):
    """What Prometheus collects."""

    scopes = {"GET": Scope.READ}
    schema = None

    def get_permissions(self) -> Any:
        # The embedded mode listens on loopback, for one user.
        return [AllowAny()] if settings.RRM.embedded else super().get_permissions()

    def get(self, request: Request) -> HttpResponse:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(FarmCollector())
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


metrics = Metrics.as_view()


def _checked(name: str, ask: Callable[[], str]) -> dict[str, Any]:
    """One check as {name, ok, detail, seconds}. `ask` says what is wrong, or nothing."""
    began = time.monotonic()
    wrong = ask()
    return {"name": name, "ok": not wrong, "detail": wrong or "ok", "seconds": round(time.monotonic() - began, 3)}


def _ask_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "The database does not answer."
    return ""


def _ask_broker() -> str:
    client = redis.Redis.from_url(
        settings.RRM.pubsub_url, socket_connect_timeout=_BROKER_SECONDS, socket_timeout=_BROKER_SECONDS
    )
    try:
        with client:
            client.ping()
    except (redis.RedisError, OSError):
        return "The broker does not answer."
    return ""


def _ask_loops() -> str:
    try:
        late = [loop["name"] for loop in loops(timezone.now()) if not loop["ok"]]
    except DatabaseError:
        return "The database does not answer."
    return f"Not ticking: {', '.join(late)}." if late else ""
