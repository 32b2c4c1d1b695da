"""Where compiled code is kept between starts."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def kept(name: str, make: Callable[[], bytes]) -> bytes:
    """The content of the kept file of this name, made and kept if there is none."""
    path = cache_folder() / name
    if path.exists():
        return path.read_bytes()
    content = make()
    with contextlib.suppress(OSError):  # a full disk costs the next start a moment, not this one its work
        _keep(path, content)
    return content


def _keep(path: Path, content: bytes) -> None:
    """Write and rename: another process sees the whole file or none."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def cache_folder() -> Path:
    """The first that is ours and writable: $RRM_KERNEL_CACHE, the user's cache, a private temporary folder."""
    chosen = os.environ.get("RRM_KERNEL_CACHE")
    user_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    private = Path(tempfile.gettempdir()) / f"rrm-kernels-{os.getuid()}"
    for folder in (Path(chosen) if chosen else None, Path(user_cache) / "rrm" / "kernels", private):
        if folder is not None and _is_ours(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="rrm-kernels-"))


def _is_ours(folder: Path) -> bool:
    """Kept code is executed, so a folder that somebody else could have filled is refused."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK)
