"""Numbers of LLVM IR: an operator on them appends an instruction to the function being written.

Arithmetic is IEEE and in the order written: nothing is contracted or reassociated. One rewriting keeps every bit: in a
`fused` body, `(p + p) + c` becomes fma(2, p, c), because doubling is exact. It saves an addition.
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from renderers.mandelbrot.simd.emit import Body

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


I64, I32, I8, DOUBLE, FLOAT, POINTER, BIT = (
    Type(name) for name in ("i64", "i32", "i8", "double", "float", "ptr", "i1")
)
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
        kind = (
            f"fcmp o{predicate}" if is_float else f"icmp {predicate if predicate in ('eq', 'ne') else 's' + predicate}"
        )
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
        """`yes` where this mask is set, else `no`; constants are numbers like the other one, or doubles."""
        known = [operand.type for operand in (yes, no) if isinstance(operand, Value)]
        kind = known[0] if known else self.type.of("double")
        first, second = self.body.value(kind, yes), self.body.value(kind, no)
        return self.body.emit(kind, f"select {self}, {first}, {second}")


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


def constant(type_: Type, value: float) -> str:
    text = number(type_.element, value)
    if not type_.lanes:
        return text
    return "<" + ", ".join([f"{type_.element} {text}"] * type_.lanes) + ">"


def number(element: str, value: float) -> str:
    """LLVM writes both kinds of floating point constants as the bits of a double."""
    if element == "i1":
        return "true" if value else "false"
    if element in FLOATS:
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    return str(int(value))
