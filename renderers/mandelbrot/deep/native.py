"""The loops as a loaded object file: written and compiled once per processor type, then kept; called through ctypes."""

import ctypes
import functools
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from renderers.mandelbrot import native

Function = Callable[..., int]

GROUPS = 4
_KINDS = {"ptr": ctypes.c_void_p, "i64": ctypes.c_int64, "double": ctypes.c_double}

_loading = threading.Lock()


class NoGenerator(RuntimeError):
    """This machine cannot generate code: views beyond double precision cannot be rendered here."""


def instruction_set() -> str:
    """The one that the kernel uses here, or the best that there is where it uses a portable path."""
    try:
        from renderers.mandelbrot.simd.target import INSTRUCTION_SETS, available
    except ImportError as error:
        raise NoGenerator("llvmlite is missing") from error
    chosen = native.path().name
    found = [chosen] if chosen in INSTRUCTION_SETS else available()
    if not found:
        raise NoGenerator("there are no vectors that it knows")
    return found[0]


def perturb() -> Function:
    """The compiled function; the first call loads, or compiles and keeps, the object file."""
    with _loading:
        return _perturb(instruction_set())


def lanes() -> int:
    """Doubles in one of its vectors."""
    return _lanes(instruction_set())


@functools.cache
def _lanes(name: str) -> int:
    from renderers.mandelbrot.simd.target import host_target

    return host_target(name).plan.lanes


@functools.cache
def _perturb(name: str) -> Function:
    from renderers.mandelbrot.deep.lanes import ARGUMENTS
    from renderers.mandelbrot.simd.machine_code import loaded
    from renderers.mandelbrot.simd.target import host_target

    code = loaded(f"deep-{_fingerprint()}", functools.partial(_text, _lanes(name)), host_target(name))
    function: Function = code.function("perturb", *(_KINDS[str(kind)] for kind in ARGUMENTS.values()))
    return function


def _text(width: int) -> str:
    """The module of LLVM IR."""
    from renderers.mandelbrot.deep.kernel import module

    return str(module(width, GROUPS))


def _fingerprint() -> str:
    """Names the sources that write the code."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
