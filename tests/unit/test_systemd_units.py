"""What the units of a production installation promise."""

from __future__ import annotations

from pathlib import Path

UNITS = Path("deployment/systemd")


def test_bringing_the_database_up_to_date_may_take_as_long_as_it_needs() -> None:
    migrating = [unit for unit in UNITS.iterdir() if "manage.py migrate" in unit.read_text()]

    assert [unit.name for unit in migrating] == ["rrm-web.service"]
    assert "TimeoutStartSec=infinity" in migrating[0].read_text().splitlines()


def test_whoever_needs_the_database_starts_after_it_is_up_to_date() -> None:
    others = [unit for unit in UNITS.iterdir() if unit.name != "rrm-web.service"]

    assert len(others) == 3
    for unit in others:
        assert "rrm-web.service" in unit.read_text().split("After=")[1].split("\n")[0]
