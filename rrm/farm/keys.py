"""The key directory: sites name a private key by its file's name, and nothing here ever reads one."""

from __future__ import annotations

import stat

from django.conf import settings

from rrm.errors import Invalid


def check(name: str) -> None:
    """Raises Invalid unless `name` is empty or names a file of the key directory that only its owner can read."""
    if not name:
        return
    if "/" in name or "\0" in name or name.startswith("."):
        raise Invalid("identity", "Give the name of a file in the key directory, not a path.")
    path = settings.RRM.keys_dir / name
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Invalid("identity", f"The key directory has no such file that can be used: {error.strerror}.") from None
    if not stat.S_ISREG(mode):
        raise Invalid("identity", "This is no file.")
    if stat.S_IMODE(mode) & 0o077:
        raise Invalid("identity", "Others may read this file: run chmod 600 on it.")
