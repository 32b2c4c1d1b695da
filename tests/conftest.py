"""What every test may use: the service fixtures, and subprocesses that see the real settings."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tests.services"]


def pytest_configure(config: pytest.Config) -> None:
    # This process has tests.settings by now. The ones it starts run as in real life, on the folder RRM_DATA names.
    os.environ["DJANGO_SETTINGS_MODULE"] = "rrm.settings"
