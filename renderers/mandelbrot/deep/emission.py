"""Writing machine code in Python: values with operators, variables and loops over llvmlite's IR builder.

Vector and scalar values behave alike; Python numbers beside a value become constants of its type. Comparisons of
doubles are false for NaN. Nothing is contracted: a fused multiply-add is written `fma`, rounds once, and is exact in
the same way on every processor.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from llvmlite import ir

DOUBLE, FLOAT, INTEGER, WHOLE = ir.DoubleType(), ir.FloatType(), ir.IntType(64), ir.IntType(32)
BIT, BYTE, POINTER = ir.IntType(1), ir.IntType(8), ir.PointerType()

Number: TypeAlias = "Value | float"


def vector(element: Any, width: int) -> Any:
    """The type of `width` lanes; one lane is a scalar."""
    return ir.VectorType(element, width) if width > 1 else element


class Value:
    """The result of an instruction."""

    def __init__(self, code: "Code", raw: Any) -> None:
        self.code = code
        self.raw = raw

    @property
    def type(self) -> Any:
        return self.raw.type

    @property
    def is_float(self) -> bool:
        element = getattr(self.type, "element", self.type)
        return isinstance(element, ir.DoubleType | ir.FloatType)

    def like(self, other: Number) -> "Value":
        """The other as a value of this type."""
        return other if isinstance(other, Value) else self.code.constant(self.type, other)

    def _binary(self, float_op: str, int_op: str, other: Number) -> "Value":
        operation = getattr(self.code.builder, float_op if self.is_float else int_op)
        return Value(self.code, operation(self.raw, self.like(other).raw))

    def __add__(self, other: Number) -> "Value":
        return self._binary("fadd", "add", other)

    def __sub__(self, other: Number) -> "Value":
        return self._binary("fsub", "sub", other)

    def __mul__(self, other: Number) -> "Value":
        return self._binary("fmul", "mul", other)

    def __truediv__(self, other: Number) -> "Value":
        return self._binary("fdiv", "sdiv", other)

    def __and__(self, other: Number) -> "Value":
        return self._binary("and_", "and_", other)

    def __or__(self, other: Number) -> "Value":
        return self._binary("or_", "or_", other)

    def __lshift__(self, other: Number) -> "Value":
        return self._binary("shl", "shl", other)

    def __rshift__(self, other: Number) -> "Value":
        return self._binary("ashr", "ashr", other)

    def __neg__(self) -> "Value":
        negate = self.code.builder.fneg if self.is_float else self.code.builder.neg
        return Value(self.code, negate(self.raw))

    def __invert__(self) -> "Value":
        return Value(self.code, self.code.builder.not_(self.raw))

    def _compared(self, sign: str, other: Number) -> "Value":
        compare = self.code.builder.fcmp_ordered if self.is_float else self.code.builder.icmp_signed
        return Value(self.code, compare(sign, self.raw, self.like(other).raw))

    def __lt__(self, other: Number) -> "Value":
        return self._compared("<", other)

    def __le__(self, other: Number) -> "Value":
        return self._compared("<=", other)

    def __gt__(self, other: Number) -> "Value":
        return self._compared(">", other)

    def __ge__(self, other: Number) -> "Value":
        return self._compared(">=", other)

    def equals(self, other: Number) -> "Value":
        return self._compared("==", other)

    def differs(self, other: Number) -> "Value":
        return self._compared("!=", other)


class Variable:
    """A place whose value changes; the optimizer keeps it in a register."""

    def __init__(self, code: "Code", kind: Any) -> None:
        self._code = code
        self._kind = kind
        with code.builder.goto_entry_block():
            self._place = code.builder.alloca(kind)

    @property
    def value(self) -> Value:
        return Value(self._code, self._code.builder.load(self._place, typ=self._kind))

    @value.setter
    def value(self, new: Value) -> None:
        self._code.builder.store(new.raw, self._place)


class Loop:
    """A loop being written."""

    def __init__(self, code: "Code") -> None:
        self._code = code
        self.head = code.builder.append_basic_block()
        self.end = code.builder.append_basic_block()

    def leave_when(self, condition: Value) -> None:
        """Go on after the loop if the (scalar) condition holds."""
        further = self._code.builder.append_basic_block()
        self._code.builder.cbranch(condition.raw, self.end, further)
        self._code.builder.position_at_end(further)


class Code:
    """A function being written; arguments are attributes of `at`."""

    def __init__(self, module: Any, name: str, arguments: Mapping[str, Any]) -> None:
        self.module = module
        function = ir.Function(module, ir.FunctionType(INTEGER, tuple(arguments.values())), name)
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.arguments = {name: Value(self, raw) for name, raw in zip(arguments, function.args, strict=True)}
        for argument in function.args:
            if argument.type == POINTER:
                argument.add_attribute("noalias")

    # --- values

    def constant(self, kind: Any, number: float) -> Value:
        """The number, in every lane."""
        if isinstance(kind, ir.VectorType):
            return Value(self, ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count))
        return Value(self, ir.Constant(kind, number))

    def lanes(self, element: Any, numbers: list[int]) -> Value:
        """A vector of constants."""
        if len(numbers) == 1:
            return self.constant(element, numbers[0])
        return Value(self, ir.Constant(vector(element, len(numbers)), [ir.Constant(element, n) for n in numbers]))

    def splat(self, scalar: Value, width: int) -> Value:
        """The scalar in every lane."""
        if width == 1:
            return scalar
        kind = vector(scalar.type, width)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar.raw, ir.Constant(WHOLE, 0))
        zeros = ir.Constant(vector(WHOLE, width), [ir.Constant(WHOLE, 0)] * width)
        return Value(self, self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros))

    def select(self, condition: Value, yes: Value, no: Number) -> Value:
        return Value(self, self.builder.select(condition.raw, yes.raw, yes.like(no).raw))

    def convert(self, operation: str, value: Value, kind: Any) -> Value:
        """sitofp, fptosi, fptrunc, zext, bitcast or trunc."""
        return Value(self, getattr(self.builder, operation)(value.raw, kind))

    def intrinsic(self, name: str, result: Any, *values: Value) -> Value:
        """Call an intrinsic function of LLVM by its full name."""
        known = self.module.globals.get(name)
        kinds = [value.type for value in values]
        function = known or ir.Function(self.module, ir.FunctionType(result, kinds), name)
        return Value(self, self.builder.call(function, [value.raw for value in values]))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a·b + c, rounded once."""
        return self.intrinsic(f"llvm.fma.{_suffix(a.type)}", a.type, a, b, c)

    def smaller(self, a: Value, b: Value) -> Value:
        return self.select(a < b, a, b)

    def larger(self, a: Value, b: Value) -> Value:
        return self.select(a < b, b, a)

    def abs(self, value: Value) -> Value:
        return self.intrinsic(f"llvm.fabs.{_suffix(value.type)}", value.type, value)

    def bits(self, mask: Value) -> Value:
        """The lanes of a mask as the bits of an integer."""
        width = getattr(mask.type, "count", 1)
        narrow = self.convert("bitcast", mask, ir.IntType(width)) if width > 1 else mask
        return self.convert("zext", narrow, INTEGER)

    def any(self, mask: Value) -> Value:
        return self.bits(mask).differs(0)

    def least(self, values: Value) -> Value:
        """The smallest lane of signed integers."""
        if not isinstance(values.type, ir.VectorType):
            return values
        return self.intrinsic(f"llvm.vector.reduce.smin.{_suffix(values.type)}", values.type.element, values)

    def largest(self, values: Value) -> Value:
        """The largest lane of signed integers."""
        if not isinstance(values.type, ir.VectorType):
            return values
        return self.intrinsic(f"llvm.vector.reduce.smax.{_suffix(values.type)}", values.type.element, values)

    # --- memory

    def address(self, base: Value, index: Number, kind: Any = INTEGER) -> Value:
        """Where element `index` of an array is; elements are 8 bytes long unless `kind` says otherwise."""
        position = index if isinstance(index, Value) else self.constant(INTEGER, index)
        return Value(self, self.builder.gep(base.raw, [position.raw], source_etype=kind))

    def load(self, base: Value, index: Number = 0, kind: Any = DOUBLE) -> Value:
        """Element `index`, or the lanes from there on if `kind` is a vector; aligned as its elements are."""
        element = getattr(kind, "element", kind)
        place = self.address(base, index, element)
        return Value(self, self.builder.load(place.raw, typ=kind, align=element.width // 8 if element != DOUBLE else 8))

    def store(self, value: Value, base: Value, index: Number = 0) -> None:
        element = getattr(value.type, "element", value.type)
        place = self.address(base, index, element)
        self.builder.store(value.raw, place.raw, align=4 if element in (FLOAT, WHOLE) else 8)

    def flag_is_up(self, place: Value) -> Value:
        """A byte that another thread may set."""
        raw = self.builder.load_atomic(place.raw, "monotonic", 1, typ=BYTE)
        return Value(self, raw).differs(0)

    # --- control

    def variable(self, initial: Value) -> Variable:
        fresh = Variable(self, initial.type)
        fresh.value = initial
        return fresh

    @contextmanager
    def loop(self) -> Iterator[Loop]:
        """Repeat the block until it is left."""
        loop = Loop(self)
        self.builder.branch(loop.head)
        self.builder.position_at_end(loop.head)
        yield loop
        self.builder.branch(loop.head)
        self.builder.position_at_end(loop.end)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Only if the (scalar) condition holds."""
        with self.builder.if_then(condition.raw):
            yield

    @contextmanager
    def choose(self, condition: Value) -> Iterator[tuple[Any, Any]]:
        """Two contexts: what is done if the (scalar) condition holds, and otherwise."""
        with self.builder.if_else(condition.raw) as branches:
            yield branches

    @contextmanager
    def each_bit(self, bits: Value) -> Iterator[Value]:
        """The block for the index of each set bit, lowest first."""
        remaining = self.variable(bits)
        with self.loop() as loop:
            loop.leave_when(remaining.value.equals(0))
            no_zero = self.constant(BIT, 0)
            yield self.intrinsic("llvm.cttz.i64", INTEGER, remaining.value, no_zero)
            remaining.value = remaining.value & (remaining.value - 1)

    def answer(self, value: Value) -> None:
        self.builder.ret(value.raw)


def _suffix(kind: Any) -> str:
    element = getattr(kind, "element", kind)
    name = "f64" if element == DOUBLE else f"i{element.width}"
    return f"v{kind.count}{name}" if isinstance(kind, ir.VectorType) else name
