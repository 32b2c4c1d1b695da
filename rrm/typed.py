"""What people type at a command line, understood or refused in a sentence."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError


def number(text: str) -> float:
    """A finite one."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ArgumentTypeError(f"{text!r} is not a number")
    return found
