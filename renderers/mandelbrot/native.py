"""Machine code of the inner loops: compiled once per processor type, kept as an object file, loaded by llvmlite.

A start from the kept file takes milliseconds and does not import numba (0.9 s). Functions are called through ctypes,
which releases the interpreter lock.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

Function = Callable[..., int]

SOURCES = ("layout.py", "lanes.py", "pixels.py", "machine_code.py", "native.py")
POINTER, INTEGER, DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "render_lanes": (POINTER,) * 6 + (INTEGER,) * 2 + (DOUBLE,) * 2,
    "paint": (POINTER,) * 4 + (INTEGER,) * 2 + (DOUBLE,) * 3 + (INTEGER,),
    "sub_filter": (POINTER,) * 2 + (INTEGER,) * 2,
    "average": (POINTER,) * 2 + (INTEGER,) * 3,
}


@dataclass(frozen=True)
class Target:
    """The processor that code is made for."""

    cpu: str
    features: str

    @classmethod
    def host(cls) -> "Target":
        """This machine. LLVM prefers 256-bit vectors on many AVX-512 processors; full width is 1.4 times as fast."""
        features = llvm.get_host_cpu_features()
        wide = ",-prefer-256-bit" if features.get("avx512f") else ""
        return cls(llvm.get_host_cpu_name(), features.flatten() + wide)


_loading = threading.Lock()


def load() -> None:
    """Make every function ready: milliseconds, or seconds for the first time on this type of processor."""
    for name in ARGUMENTS:
        function(name)


def function(name: str) -> Function:
    """The compiled function; the first call loads, or compiles and keeps, the object file."""
    with _loading:  # two engines would be made otherwise, and one of them freed while its code runs
        return _function(name)


@functools.cache
def _function(name: str) -> Function:
    prototype = ctypes.CFUNCTYPE(INTEGER, *ARGUMENTS[name])
    return prototype(_engine().get_function_address(name))


@functools.cache
def _engine() -> Any:
    """The loaded object file; it lives as long as the process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = Target.host()
    machine = llvm.Target.from_default_triple().create_target_machine(target.cpu, target.features, jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(_object_code(target)))
    engine.finalize_object()
    return engine


def _object_code(target: Target) -> bytes:
    kept = cache_folder() / f"mandelbrot-{_fingerprint(target)}.o"
    if kept.exists():
        return kept.read_bytes()
    from renderers.mandelbrot.machine_code import object_code

    code = object_code(target)
    with contextlib.suppress(OSError):  # a full disk costs the next start seconds, not this one its work
        _keep(kept, code)
    return code


def _fingerprint(target: Target) -> str:
    """Names everything that the code depends on."""
    digest = hashlib.sha256("\0".join((platform.machine(), target.cpu, target.features, llvmlite.__version__)).encode())
    for source in SOURCES:
        digest.update(Path(__file__).with_name(source).read_bytes())
    return digest.hexdigest()[:24]


def _keep(path: Path, code: bytes) -> None:
    """Write and rename: another process sees the whole file or none."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(code)
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
