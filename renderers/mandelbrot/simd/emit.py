"""Writes LLVM IR: an operator on values appends an instruction, `with` blocks are loops and conditions.

Arithmetic is IEEE and in the order written: nothing is contracted or reassociated. One rewriting keeps every bit: with
`fused`, `(p + p) + c` becomes fma(2, p, c), because doubling is exact. It saves an addition.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Union

MASK_SUFFIX = {"double": "f64", "float": "f32", "i64": "i64", "i32": "i32", "i8": "i8"}
FLOATS = ("double", "float")


@dataclass(frozen=True)
class Type:
    """A scalar (lanes = 0) or a vector."""

    element: str
    lanes: int = 0

    def __str__(self) -> str:
        return f"<{self.lanes} x {self.element}>" if self.lanes else self.element

    def of(self, element: str) -> "Type":
        """As many of another element."""
        return Type(element, self.lanes)

    @property
    def suffix(self) -> str:
        """How names of intrinsics end."""
        return (f"v{self.lanes}" if self.lanes else "") + MASK_SUFFIX[self.element]


I64, I32, I8, DOUBLE, FLOAT, POINTER, BIT = (Type(name) for name in ("i64", "i32", "i8", "double", "float", "ptr", "i1"))
VOID = Type("void")
Operand = Union["Value", float]


class Value:
    """The result of an instruction, an argument or a constant of a function being written."""

    def __init__(self, body: "Body", type_: Type, name: str, half: "Value | None" = None) -> None:
        self.body, self.type, self.name = body, type_, name
        self.half = half  # the value that this one is the exact double of

    def __str__(self) -> str:
        return f"{self.type} {self.name}"

    def _with(self, operation: str, other: Operand, *, swapped: bool = False) -> "Value":
        right = self.body.value(self.type, other)
        prefix = "f" if self.type.element in FLOATS else ""
        first, second = (right, self) if swapped else (self, right)
        return self.body.emit(self.type, f"{prefix}{operation} {first}, {second.name}")

    def _compare(self, predicate: str, other: Operand) -> "Value":
        right = self.body.value(self.type, other)
        is_float = self.type.element in FLOATS
        kind = f"fcmp o{predicate}" if is_float else f"icmp {predicate if predicate in ('eq', 'ne') else 's' + predicate}"
        return self.body.emit(self.type.of("i1"), f"{kind} {self}, {right.name}")

    def __add__(self, other: Operand) -> "Value":
        if self.half is not None and isinstance(other, Value) and self.body.fused:
            return self.body.fma(self.half, 2.0, other)
        total = self._with("add", other)
        total.half = self if other is self and self.type.element in FLOATS else None
        return total

    def __sub__(self, other: Operand) -> "Value":
        if isinstance(other, Value) and other.half is not None and self.body.fused:
            return self.body.fma(other.half, -2.0, self)
        return self._with("sub", other)

    def __rsub__(self, other: Operand) -> "Value":
        return self._with("sub", other, swapped=True)

    def __mul__(self, other: Operand) -> "Value":
        return self._with("mul", other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> "Value":
        return self._with("div", other)

    def __floordiv__(self, other: Operand) -> "Value":
        right = self.body.value(self.type, other)
        return self.body.emit(self.type, f"sdiv {self}, {right.name}")

    def __mod__(self, other: Operand) -> "Value":
        right = self.body.value(self.type, other)
        return self.body.emit(self.type, f"srem {self}, {right.name}")

    def __lshift__(self, other: Operand) -> "Value":
        return self._with("shl", other)

    def __rshift__(self, other: Operand) -> "Value":
        """Fills with zeros."""
        return self._with("lshr", other)

    def __and__(self, other: Operand) -> "Value":
        return self._with("and", other)

    def __or__(self, other: Operand) -> "Value":
        return self._with("or", other)

    def __invert__(self) -> "Value":
        return self._with("xor", -1)

    def __abs__(self) -> "Value":
        return self.body.call(f"llvm.fabs.{self.type.suffix}", self.type, self)

    def __lt__(self, other: Operand) -> "Value":
        return self._compare("lt", other)

    def __le__(self, other: Operand) -> "Value":
        return self._compare("le", other)

    def __gt__(self, other: Operand) -> "Value":
        return self._compare("gt", other)

    def __ge__(self, other: Operand) -> "Value":
        return self._compare("ge", other)

    def equals(self, other: Operand) -> "Value":
        """True where both are the same number."""
        return self._compare("eq", other)

    def to(self, element: str, operation: str) -> "Value":
        """Converted by an LLVM cast: sext, zext, trunc, sitofp, fptosi, fptrunc, fpext, bitcast …"""
        return self.body.emit(self.type.of(element), f"{operation} {self} to {self.type.of(element)}")

    def select(self, yes: Operand, no: Operand) -> "Value":
        """`yes` where this mask is set, else `no`; at least one of them is a value."""
        known = yes if isinstance(yes, Value) else no
        assert isinstance(known, Value)
        first, second = self.body.value(known.type, yes), self.body.value(known.type, no)
        return self.body.emit(known.type, f"select {self}, {first}, {second}")


class Variable:
    """A place on the stack, which the optimiser turns into registers."""

    def __init__(self, body: "Body", type_: Type, initial: Operand) -> None:
        self._body, self.type = body, type_
        self._pointer = body.reserve(str(type_))
        self.set(initial)

    def get(self) -> Value:
        return self._body.emit(self.type, f"load {self.type}, ptr {self._pointer}")

    def set(self, value: Operand) -> None:
        self._body.line(f"store {self._body.value(self.type, value)}, ptr {self._pointer}")


class MaskVariable:
    """A mask that changes. Without mask registers it is kept as wide as the numbers, which costs no conversion."""

    def __init__(self, body: "Body", initial: Value) -> None:
        self._variable = Variable(body, initial.type.of("i1" if body.has_masks else "i64"), self._wide(body, initial))
        self._body = body

    @staticmethod
    def _wide(body: "Body", mask: Value) -> Value:
        return mask if body.has_masks else mask.to("i64", "sext")

    def get(self) -> Value:
        kept = self._variable.get()
        return kept if self._body.has_masks else kept < 0

    def set(self, mask: Value) -> None:
        self._variable.set(self._wide(self._body, mask))


class Array:
    """Elements in memory, read and written one at a time or as vectors of neighbours."""

    def __init__(self, body: "Body", pointer: Value, element: str) -> None:
        self._body, self._pointer, self.element = body, pointer, element

    def at(self, index: Operand) -> Value:
        """The address of an element."""
        place = self._body.value(I64, index)
        return self._body.emit(POINTER, f"getelementptr {self.element}, {self._pointer}, {place}")

    def get(self, index: Operand, lanes: int = 0) -> Value:
        kind = Type(self.element, lanes)
        return self._body.emit(kind, f"load {kind}, {self.at(index)}, align {self._align}")

    def set(self, index: Operand, value: Value) -> None:
        self._body.line(f"store {value}, {self.at(index)}, align {self._align}")

    def set_where(self, mask: Value, index: Operand, value: Value) -> None:
        """Store only the lanes in the mask."""
        name = f"llvm.masked.store.{value.type.suffix}.p0"
        self._body.call(name, VOID, value, self.at(index), self._body.value(I32, self._align), mask)

    def get_where(self, mask: Value, index: Operand, absent: Operand) -> Value:
        """Load only the lanes in the mask; the others are `absent`."""
        kind = Type(self.element, mask.type.lanes)
        name = f"llvm.masked.load.{kind.suffix}.p0"
        align, other = self._body.value(I32, self._align), self._body.value(kind, absent)
        return self._body.call(name, kind, self.at(index), align, mask, other)

    @property
    def _align(self) -> int:
        return {"double": 8, "i64": 8, "ptr": 8, "float": 4, "i32": 4, "i8": 1}[self.element]


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
            return Value(self, type_, _constant(type_, operand))
        return self._splat(operand, type_.lanes) if type_.lanes and not operand.type.lanes else operand

    def _splat(self, scalar: Value, lanes: int) -> Value:
        kind = Type(scalar.type.element, lanes)
        first = self.emit(kind, f"insertelement {kind} poison, {scalar}, i32 0")
        return self.emit(kind, f"shufflevector {first}, {kind} poison, <{lanes} x i32> zeroinitializer")

    def sequence(self, type_: Type) -> Value:
        """The vector 0, 1, 2, …"""
        items = ", ".join(f"{type_.element} {_number(type_.element, k)}" for k in range(type_.lanes))
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


def _constant(type_: Type, number: float) -> str:
    text = _number(type_.element, number)
    if not type_.lanes:
        return text
    return "<" + ", ".join([f"{type_.element} {text}"] * type_.lanes) + ">"


def _number(element: str, number: float) -> str:
    """LLVM writes both kinds of floating point constants as the bits of a double."""
    if element == "i1":
        return "true" if number else "false"
    if element in FLOATS:
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    return str(int(number))
