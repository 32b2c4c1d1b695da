"""Registers the pages with Django."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Has no models: only templates and static files."""

    name = "rrm.dashboard"
    label = "dashboard"
    verbose_name = "Live pages"
