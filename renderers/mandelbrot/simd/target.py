"""The instruction sets that the kernel is written for, and which of them this processor has."""

import platform
import re
from dataclasses import dataclass, replace

import llvmlite.binding as llvm

from renderers.mandelbrot.simd.state import Plan

X86, ARM = ("x86_64", "AMD64"), ("aarch64", "arm64")
SCARCE = re.compile(r"\+(avx512|avx10|amx-avx512|evex512)")
ABOVE_SSE2 = re.compile(r"\+(avx|amx|fma|f16c|xop|vaes|vpclmulqdq|gfni|sha512|sse3|ssse3|sse4)")

AMD_ZEN = "znver"  # adds beside multiplications: half of the doublings by each keeps all units busy


@dataclass(frozen=True)
class InstructionSet:
    """A vector width with its registers, on the machines that have all of its features."""

    name: str
    machines: tuple[str, ...]
    needs: tuple[str, ...]
    plan: Plan


@dataclass(frozen=True)
class Target:
    """What LLVM is told about the processor, and how the kernel is laid out for it."""

    set_name: str
    cpu: str
    features: str
    plan: Plan
    triple: str = ""  # this machine's


# Vectors in flight hide the latency of a step (about 11 cycles); more do not fit the registers. The widest set first.
AVX512 = InstructionSet("avx512", X86, ("avx512f", "avx512dq", "avx512vl"), Plan(8, 8, (True,), has_masks=True))
AVX512VL = InstructionSet("avx512vl", X86, ("avx512f", "avx512dq", "avx512vl"), Plan(4, 8, (True,), has_masks=True))
AVX2 = InstructionSet("avx2", X86, ("avx2", "fma"), Plan(4, 5, (True,), has_masks=False))
SSE2 = InstructionSet("sse2", X86, ("sse2",), Plan(2, 6, (False,), has_masks=False))
NEON = InstructionSet("neon", ARM, ("neon",), Plan(2, 8, (True,), has_masks=False))
INSTRUCTION_SETS = {known.name: known for known in (AVX512, AVX512VL, AVX2, SSE2, NEON)}


def available() -> list[str]:
    """The sets that this processor has, the fastest first."""
    machine, features = platform.machine(), llvm.get_host_cpu_features()
    return [
        name
        for name, known in INSTRUCTION_SETS.items()
        if machine in known.machines and all(features.get(feature) for feature in known.needs)
    ]


def host_target(name: str) -> Target:
    """This processor, held to one of its instruction sets."""
    cpu, plan = llvm.get_host_cpu_name(), INSTRUCTION_SETS[name].plan
    if any(plan.fused) and cpu.startswith(AMD_ZEN):
        plan = replace(plan, fused=(False, True))
    return Target(name, cpu, _features(name), plan)


def _features(name: str) -> str:
    """LLVM prefers 256-bit vectors on many AVX-512 processors; full width is 1.4 times as fast."""
    features: str = llvm.get_host_cpu_features().flatten()
    if name == "avx512":
        return features + ",-prefer-256-bit"
    if name == "avx2":
        return SCARCE.sub(r"-\1", features)
    return ABOVE_SSE2.sub(r"-\1", features) if name == "sse2" else features
