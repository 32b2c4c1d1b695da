"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def parser(about: str | None, *, quick: str = "", plot: bool = False) -> argparse.ArgumentParser:
    """The options --json, --quick where `quick` says what is left out, and --plot where figures can be drawn."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="also write every figure to this file")
    if plot:
        made.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw them (needs matplotlib)")
    if quick:
        made.add_argument("--quick", action="store_true", help=quick)
    return made


def keep(found: Any, given: argparse.Namespace, draw: Callable[[Any, Path], None] | None = None) -> None:
    """Write and draw what was found, if the options say so."""
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if draw is not None and given.plot:
        draw(found, given.plot)
