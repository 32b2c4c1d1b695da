"""Writes functions of LLVM IR: operators on values append instructions, `with` blocks are loops and conditions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from renderers.mandelbrot.simd.values import (
    BIT,
    I64,
    POINTER,
    VOID,
    Array,
    Operand,
    Type,
    Value,
    Variable,
    constant,
    number,
)


class Loop:
    """The loop being written."""

    def __init__(self, body: "Body", end: str) -> None:
        self._body, self._end = body, end

    def leave_if(self, condition: Value) -> None:
        go_on = self._body.label()
        self._body.line(f"br {condition}, label %{self._end}, label %{go_on}")
        self._body.begin(go_on)


class Body:
    """A function being written."""

    def __init__(self, declarations: set[str], *, fused: bool, has_masks: bool) -> None:
        self.fused, self.has_masks = fused, has_masks
        self._declarations = declarations
        self._reserved: list[str] = []
        self._lines: list[str] = []
        self._count = 0

    def text(self) -> str:
        return "\n".join(["entry:", *self._reserved, "  br label %start", "start:", *self._lines])

    def line(self, text: str) -> None:
        self._lines.append(f"  {text}")

    def emit(self, type_: Type, text: str) -> Value:
        self._count += 1
        name = f"%v{self._count}"
        self.line(f"{name} = {text}")
        return Value(self, type_, name)

    def reserve(self, what: str, align: int = 64) -> str:
        """The address of a piece of the stack."""
        self._count += 1
        self._reserved.append(f"  %v{self._count} = alloca {what}, align {align}")
        return f"%v{self._count}"

    def array(self, element: str, length: int) -> Array:
        """Uninitialised elements on the stack."""
        return Array(self, Value(self, POINTER, self.reserve(f"[{length} x {element}]")), element)

    def value(self, type_: Type, operand: Operand) -> Value:
        """The operand itself, or a constant; a scalar becomes a vector of equal lanes where one is wanted."""
        if not isinstance(operand, Value):
            return Value(self, type_, constant(type_, operand))
        return self._splat(operand, type_.lanes) if type_.lanes and not operand.type.lanes else operand

    def _splat(self, scalar: Value, lanes: int) -> Value:
        kind = Type(scalar.type.element, lanes)
        first = self.emit(kind, f"insertelement {kind} poison, {scalar}, i32 0")
        return self.emit(kind, f"shufflevector {first}, {kind} poison, <{lanes} x i32> zeroinitializer")

    def sequence(self, type_: Type) -> Value:
        """The vector 0, 1, 2, …"""
        items = ", ".join(f"{type_.element} {number(type_.element, k)}" for k in range(type_.lanes))
        return Value(self, type_, f"<{items}>")

    def call(self, name: str, result: Type, *arguments: Value) -> Value:
        """Call an intrinsic or a function of the module."""
        if name.startswith("llvm."):
            kinds = ", ".join(str(argument.type) for argument in arguments)
            self._declarations.add(f"declare {result} @{name}({kinds})")
        text = f"call {result} @{name}({', '.join(map(str, arguments))})"
        if result == VOID:
            self.line(text)
            return Value(self, VOID, "")
        return self.emit(result, text)

    def fma(self, a: Value, factor: float, c: Value) -> Value:
        return self.call(f"llvm.fma.{a.type.suffix}", a.type, a, self.value(a.type, factor), c)

    def floor(self, value: Value) -> Value:
        return self.call(f"llvm.floor.{value.type.suffix}", value.type, value)

    def root(self, value: Value) -> Value:
        return self.call(f"llvm.sqrt.{value.type.suffix}", value.type, value)

    def smaller(self, a: Value, b: Operand) -> Value:
        return (a < b).select(a, b)

    def larger(self, a: Value, b: Operand) -> Value:
        return (a > b).select(a, b)

    def bits(self, mask: Value) -> Value:
        """The mask as a number: bit k is lane k."""
        narrow = self.emit(Type(f"i{mask.type.lanes}"), f"bitcast {mask} to i{mask.type.lanes}")
        return self.emit(I64, f"zext {narrow} to i64")

    def any(self, mask: Value) -> Value:
        narrow = self.emit(Type(f"i{mask.type.lanes}"), f"bitcast {mask} to i{mask.type.lanes}")
        return self.emit(BIT, f"icmp ne {narrow}, 0")

    def population(self, bits: Value) -> Value:
        return self.call("llvm.ctpop.i64", I64, bits)

    def lowest(self, bits: Value) -> Value:
        """Index of the lowest set bit of a number that is not 0."""
        return self.call("llvm.cttz.i64", I64, bits, self.value(BIT, 1))

    def compress(self, value: Value, mask: Value) -> Value:
        """The lanes in the mask, moved together to the front."""
        name = f"llvm.experimental.vector.compress.{value.type.suffix}"
        return self.call(name, value.type, value, mask, Value(self, value.type, "poison"))

    def label(self) -> str:
        self._count += 1
        return f"b{self._count}"

    def begin(self, label: str) -> None:
        self._lines.append(f"{label}:")

    @contextmanager
    def loop(self) -> Iterator[Loop]:
        """Repeats until `leave_if`."""
        top, end = self.label(), self.label()
        self.line(f"br label %{top}")
        self.begin(top)
        yield Loop(self, end)
        self.line(f"br label %{top}")
        self.begin(end)

    @contextmanager
    def counted(self, first: Operand, stop: Operand, step: int = 1) -> Iterator[Value]:
        """Repeats for first, first + step, … below stop."""
        counter = Variable(self, I64, first)
        with self.loop() as loop:
            index = counter.get()
            loop.leave_if(index >= stop)
            yield index
            counter.set(index + step)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Happens if the condition holds."""
        then, end = self.label(), self.label()
        self.line(f"br {condition}, label %{then}, label %{end}")
        self.begin(then)
        yield
        self.line(f"br label %{end}")
        self.begin(end)

    def give(self, value: Value | None = None) -> None:
        """End the function."""
        self.line("ret void" if value is None else f"ret {value}")


class Module:
    """Functions that are compiled together."""

    def __init__(self, *, fused: bool = False, has_masks: bool = False) -> None:
        self._fused, self._has_masks = fused, has_masks
        self._declarations: set[str] = set()
        self._functions: list[str] = []

    def text(self) -> str:
        return "\n\n".join([*sorted(self._declarations), *self._functions]) + "\n"

    @contextmanager
    def function(
        self, name: str, arguments: Sequence[tuple[str, Type]], result: Type = VOID, *, exported: bool = False
    ) -> Iterator[tuple[Body, list[Value]]]:
        """Write a function; the block gets its body and its arguments. Others can see it only if it is exported."""
        body = Body(self._declarations, fused=self._fused, has_masks=self._has_masks)
        yield body, [Value(body, kind, f"%{argument}") for argument, kind in arguments]
        signature = ", ".join(f"{kind} %{argument}" for argument, kind in arguments)
        linkage = "" if exported else "internal "
        attributes = "nounwind" if exported else "noinline nounwind"
        head = f"define {linkage}{result} @{name}({signature}) {attributes}"
        self._functions.append(f"{head} {{\n{body.text()}\n}}")
