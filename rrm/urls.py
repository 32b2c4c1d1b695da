"""Every address that the manager answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from rrm.api import health
from rrm.dashboard.throttle import throttled

urlpatterns = [
    path("", include("rrm.dashboard.urls")),
    path("admin/login/", throttled(admin.site.login)),
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", health.metrics),
    path("rendering-resource-manager/v1/", include("rrm.api.v1.urls")),
    path("rendering-resource-manager/v2/", include("rrm.api.v2.urls")),
]
