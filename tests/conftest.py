"""What every test may use: the service fixtures, and subprocesses that see the real settings."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.thoroughness import THOROUGH

# How quick an example is says more about the machine, and what else it does, than about the code. Every run tries the
# same examples, so that what fails is of the change; thorough ones try others each time.
settings.register_profile("rrm", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("rrm"), derandomize=False, max_examples=1000)
settings.load_profile("thorough" if THOROUGH else "rrm")

pytest_plugins = ["tests.services", "tests.hosts", "tests.clusters"]


def pytest_configure(config: pytest.Config) -> None:
    # This process has tests.settings by now. The ones it starts run as in real life, on the folder RRM_DATA names.
    os.environ["DJANGO_SETTINGS_MODULE"] = "rrm.settings"
    # A shell has what it starts in the background ignore Ctrl-C, and so would every program that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
