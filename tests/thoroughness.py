"""How much tests try that could go on for ever: as much as each run can afford, or more with THOROUGH=1."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("THOROUGH") == "1"


def tries(name: str, usual: int, thorough: int) -> int:
    """How many to make of something; the environment variable `name` says it for one run."""
    return int(os.environ.get(name) or (thorough if THOROUGH else usual))
