"""Makes the object file of the inner loops; needs numba, which only the first start on a processor type imports."""

import re
from typing import Any

import llvmlite.binding as llvm
import numba

from renderers.mandelbrot.native import ARGUMENTS, Target

DECLARATION = re.compile(r"^declare (\S+) @([\w.]+)\(([^)]*)\)", re.MULTILINE)
EXTERNAL = re.compile(r"^@(\w+) = external global i8", re.MULTILINE)


def object_code(target: Target) -> bytes:
    """An object file with the functions of ARGUMENTS that needs nothing but the C library."""
    settings: Any = numba.config
    settings.CPU_NAME, settings.CPU_FEATURES = target.cpu, target.features
    from renderers.mandelbrot import lanes, pixels  # compiles, for the target set above

    entries = {name: getattr(lanes, name, None) or getattr(pixels, name) for name in ARGUMENTS}
    module = llvm.parse_assembly("")
    for name, entry in entries.items():
        part = llvm.parse_assembly(entry.inspect_llvm())
        part.get_function(entry.native_name).name = name
        module.link_in(part)
    module.link_in(llvm.parse_assembly(_traps(str(module))))
    machine = llvm.Target.from_default_triple().create_target_machine(
        target.cpu, target.features, opt=3, codemodel="jitdefault", jit=True
    )
    _optimize(module, machine)
    return bytes(machine.emit_object(module))


def _traps(text: str) -> str:
    """Definitions for what numba's error reporting would call: these functions cannot fail, so it is never reached."""
    functions = [
        f"define {result} @{name}({arguments}) {{\n call void @llvm.trap()\n unreachable\n}}"
        for result, name, arguments in DECLARATION.findall(text)
        if not name.startswith("llvm.")
    ]
    variables = [f"@{name} = global i8 0" for name in EXTERNAL.findall(text)]
    return "\n".join([*variables, "declare void @llvm.trap()", *functions])


def _optimize(module: Any, machine: Any) -> None:
    """Inline the traps, which removes the error paths."""
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
