"""Run by a Python at a site: what it is, as one JSON object. Any Python 3 can run it."""

import importlib.util
import json
import os
import platform
import sys
import sysconfig
from typing import Any


def libc() -> "list[Any]":
    """[name, major, minor] of the C library; a name alone says nothing of what was compiled for another."""
    try:
        name, _, number = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        major, minor = number.split(".")[:2]
        return [name, int(major), int(minor)]
    except (ValueError, OSError, AttributeError):
        return ["other", 0, 0]


if __name__ == "__main__":
    facts = {
        "implementation": sys.implementation.name,
        "version": list(sys.version_info[:3]),
        "soabi": sysconfig.get_config_var("SOABI") or "",
        "machine": platform.machine(),
        "libc": libc(),
        "has_pip": importlib.util.find_spec("pip") is not None,
    }
    sys.stdout.write(json.dumps(facts))
