"""Writing LLVM IR, and what is kept of the code made from it."""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pytest

from renderers.mandelbrot.formulas import MANDELBROT
from renderers.mandelbrot.native import names
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.machine_code import Code, compiled, loaded
from renderers.mandelbrot.simd.render import kernel_text
from renderers.mandelbrot.simd.target import INSTRUCTION_SETS, Target, host_target
from renderers.mandelbrot.simd.values import DOUBLE, I64, Value, Variable
from tests.unit.renderers.orbits import FAMILIES

HOST = host_target(names()[0])
DOUBLES = [("a", DOUBLE), ("b", DOUBLE), ("c", DOUBLE)]
TINY = 2.0**-53


def function(write: Callable[[Body, Value, Value, Value], Value], *, fused: bool = False) -> Callable[..., int]:
    """A compiled function of three doubles; its result as bits."""
    module = Module(fused=fused)
    with module.function("it", DOUBLES, I64, exported=True) as (body, (a, b, c)):
        body.give(write(body, a, b, c).to("i64", "bitcast"))
    made: Callable[..., int] = Code(compiled(module.text(), HOST), HOST).function("it", *(ctypes.c_double,) * 3)
    return made


def number(bits: int) -> float:
    return ctypes.c_double.from_buffer(ctypes.c_int64(bits)).value


@pytest.mark.parametrize("fused", [True, False])
def test_products_are_rounded_before_they_are_added(fused: bool) -> None:
    """Contracted, the sum would be 2⁻¹⁰⁶ and not 0."""
    contracted = function(lambda _, a, b, c: a * b + c, fused=fused)
    assert number(contracted(1.0 + TINY * 2, 1.0 - TINY * 2, -1.0)) == 0.0


@pytest.mark.parametrize("fused", [True, False])
def test_a_doubled_product_is_the_same_fused_or_not(fused: bool) -> None:
    def write(body: Body, a: Value, b: Value, c: Value) -> Value:
        half = a * b
        return (half + half) + c

    doubled = function(write, fused=fused)
    for a, b, c in ((0.1, 0.3, 0.7), (1.1, -2.3, 1e-17), (3.3, 1e-9, -5.0)):
        assert number(doubled(a, b, c)) == 2.0 * (a * b) + c


def test_the_doubling_is_fused_where_it_may_be() -> None:
    module = Module(fused=True)
    with module.function("it", DOUBLES, DOUBLE, exported=True) as (body, (a, b, c)):
        half = a * b
        body.give((half + half) + c)
    assert "llvm.fma.f64" in module.text()


def test_loops_conditions_and_variables() -> None:
    def write(body: Body, a: Value, b: Value, c: Value) -> Value:
        total = Variable(body, DOUBLE, 0.0)
        with body.counted(0, a.to("i64", "fptosi"), 2) as k, body.when(k > 2):
            total.set(total.get() + k.to("double", "sitofp"))
        with body.loop() as loop:
            loop.leave_if(total.get() > b)
            total.set(total.get() * c)
        return total.get()

    assert number(function(write)(9.0, 100.0, 2.0)) == (4 + 6 + 8) * 8


@pytest.mark.parametrize("formula", FAMILIES, ids=str)
def test_the_kernel_can_be_made_for_arm(formula: Any) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    known = INSTRUCTION_SETS["neon"]
    target = Target("neon", "generic", "+neon", known.plan, triple="aarch64-unknown-linux-gnu")
    assert compiled(kernel_text(known.plan, formula), target).startswith(b"\x7fELF")


def test_code_is_made_once_and_then_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_KERNEL_CACHE", str(tmp_path))
    texts: list[str] = []

    def write() -> str:
        texts.append(kernel_text(HOST.plan, MANDELBROT))
        return texts[-1]

    began = time.perf_counter()
    loaded("kernel", write, HOST)
    assert time.perf_counter() - began < 10  # a quarter of a second where nothing else runs
    loaded("kernel", write, HOST)
    assert len(texts) == 1
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith(f"kernel-{HOST.set_name}-")


def test_each_instruction_set_has_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_KERNEL_CACHE", str(tmp_path))
    generated = [name for name in names() if name in INSTRUCTION_SETS]
    for name in generated:
        target = host_target(name)
        loaded("kernel", lambda target=target: kernel_text(target.plan, MANDELBROT), target)  # type: ignore[misc]
    assert len(list(tmp_path.iterdir())) == len(generated)
