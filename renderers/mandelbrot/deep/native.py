"""The loops as a loaded object file: written and compiled once per processor type, then kept; called through ctypes."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from renderers.mandelbrot.native import Target, cache_folder

Function = Callable[..., int]

SOURCES = ("layout", "emission", "logarithm", "lanes", "blocks", "results", "wide", "kernel", "native")
GROUPS = 4
_KINDS = {"ptr": ctypes.c_void_p, "i64": ctypes.c_int64, "double": ctypes.c_double}

_loading = threading.Lock()


@functools.cache
def host() -> Target:
    """This machine."""
    return Target.host()


def lanes() -> int:
    """Doubles in a vector of this machine."""
    features = host().features.split(",")
    return 8 if "+avx512f" in features else 4 if "+avx" in features else 2


def perturb() -> Function:
    """The compiled function; the first call loads, or compiles and keeps, the object file."""
    with _loading:  # two engines would be made otherwise, and one of them freed while its code runs
        return _perturb(host(), lanes())


@functools.cache
def _perturb(target: Target, width: int) -> Function:
    from renderers.mandelbrot.deep.lanes import ARGUMENTS

    kinds = (_KINDS[str(kind)] for kind in ARGUMENTS.values())
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)
    return prototype(_engine(target, width).get_function_address("perturb"))


@functools.cache
def _engine(target: Target, width: int) -> Any:
    """The loaded object file; it lives as long as the process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(_object_code(target, width)))
    engine.finalize_object()
    return engine


def _machine(target: Target) -> Any:
    return llvm.Target.from_default_triple().create_target_machine(target.cpu, target.features, opt=3, jit=True)


def _object_code(target: Target, width: int) -> bytes:
    kept = cache_folder() / f"deep-{_fingerprint(target, width)}.o"
    if kept.exists():
        return kept.read_bytes()
    code = object_code(target, width, GROUPS)
    with contextlib.suppress(OSError):  # a full disk costs the next start half a second, not this one its work
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(code)
        partial.replace(kept)
    return code


def object_code(target: Target, width: int, groups: int) -> bytes:
    """An object file with `perturb` for a target."""
    from renderers.mandelbrot.deep.kernel import module

    machine = _machine(target)
    written = llvm.parse_assembly(str(module(width, groups)))
    written.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(written, passes)
    return bytes(machine.emit_object(written))


def _fingerprint(target: Target, width: int) -> str:
    """Names everything that the code depends on."""
    machine = (platform.machine(), target.cpu, target.features, llvmlite.__version__, str(width))
    digest = hashlib.sha256("\0".join(machine).encode())
    for source in SOURCES:
        digest.update(Path(__file__).with_name(f"{source}.py").read_bytes())
    return digest.hexdigest()[:24]
