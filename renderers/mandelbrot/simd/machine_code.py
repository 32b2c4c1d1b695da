"""Machine code: LLVM IR compiled once per processor type, kept as an object file, loaded by llvmlite.

Functions are called through ctypes, which releases the interpreter lock.
"""

import ctypes
import functools
import hashlib
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from renderers.mandelbrot.cache import kept
from renderers.mandelbrot.simd.target import Target

SOURCES = Path(__file__).parent.parent
_loading = threading.Lock()


class Code:
    """Loaded machine code; it lives as long as this object."""

    def __init__(self, code: bytes, target: Target) -> None:
        _initialize()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine(target))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def function(self, name: str, *arguments: Any) -> Any:
        """The function of this name, which answers a 64-bit integer and keeps the code alive."""
        function: Any = ctypes.CFUNCTYPE(ctypes.c_int64, *arguments)(self._engine.get_function_address(name))
        function.code = self
        return function


def loaded(name: str, write: Callable[[], str], target: Target) -> Code:
    """The module `name`, from the kept file if there is one for this processor and these sources, else compiled."""
    with _loading:
        file = f"{name}-{target.set_name}-{_fingerprint(target)}.o"
        return Code(kept(file, lambda: compiled(write(), target)), target)


def compiled(text: str, target: Target) -> bytes:
    """The object file of a module of LLVM IR."""
    _initialize()
    maker = machine(target)
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    # The text says what is a vector and what is unrolled.
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    passes = llvm.create_pass_builder(maker, options)
    passes.getModulePassManager().run(module, passes)
    return bytes(maker.emit_object(module))


def machine(target: Target) -> Any:
    """LLVM's code generator for a target."""
    known = llvm.Target.from_triple(target.triple or llvm.get_process_triple())
    return known.create_target_machine(target.cpu, target.features, opt=3, codemodel="jitdefault", jit=True)


@functools.cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@functools.cache
def _fingerprint(target: Target) -> str:
    """Names everything that the code depends on."""
    digest = hashlib.sha256("\0".join((platform.machine(), target.cpu, target.features, llvmlite.__version__)).encode())
    for source in sorted([*SOURCES.glob("*.py"), *SOURCES.glob("simd/*.py")]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:24]
