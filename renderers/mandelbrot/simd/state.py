"""What the functions of the kernel share: the job as its caller describes it, and the pixels in flight."""

from dataclasses import dataclass

from renderers.mandelbrot.simd.emit import Body
from renderers.mandelbrot.simd.values import DOUBLE, I64, POINTER, Array, Type, Value

# The job is an array of 8-byte items in this order (renderers.mandelbrot.kernel.Job is the same structure).
JOB: dict[str, Type] = {
    "xs": POINTER,  # x of each column, and PADDING more
    "ys": POINTER,  # y of each row
    "counts": POINTER,
    "smooth": POINTER,
    "stop": POINTER,
    "survivors": POINTER,  # pixels that reached the limit: SURVIVOR doubles each; or null
    "cols": I64,
    "rows": I64,
    "limit": DOUBLE,
    "radius2": DOUBLE,
    "is_julia": I64,
    "cx": DOUBLE,
    "cy": DOUBLE,
    "knows_components": I64,  # 1: pixels of the two largest components are inside without iteration
    "only_unset": I64,  # 1: only pixels whose count is UNSET are rendered
    "survived": I64,  # answer: how many survivors
}
UNSET = -1  # as 32 bits: no count
PADDING = 64  # doubles that may be read behind the last column
SURVIVOR = 5  # x, y, cx, cy, pixel

FIELDS = ("x", "y", "cx", "cy", "n", "id")
NOBODY = -1.0  # the id of an empty lane
NEVER = -1e18  # its n: it rests at the origin and never asks for attention


@dataclass(frozen=True)
class Plan:
    """Sizes of the kernel for one instruction set."""

    lanes: int  # doubles in a vector
    vectors: int  # vectors in flight in the hot loop
    fused: tuple[bool, ...]  # which vectors, in turn, double by a fused multiply-add: where additions are scarce
    has_masks: bool  # there are mask registers
    block: int = 24  # untested steps
    group_vectors: int = 4  # vectors of a group of neighbouring or of finished pixels
    head: int = 24  # tested steps before a pixel gets a lane: most pixels of an overview end here
    waiting: int = 6  # lanes that may wait for their replay before all lanes are gone through

    @property
    def all_lanes(self) -> int:
        return self.lanes * self.vectors

    @property
    def group(self) -> int:
        return self.lanes * self.group_vectors

    @property
    def work_length(self) -> int:
        """The resting lane's record, what is short of filling all lanes, a group, and what a vector writes too much."""
        return 1 + self.all_lanes + self.group + self.lanes

    @property
    def done_length(self) -> int:
        """Less than a group waits when all lanes may come."""
        return self.all_lanes + 2 * self.group

    @property
    def numbers(self) -> Type:
        return Type("double", self.lanes)


@dataclass(frozen=True)
class State:
    """The pixels in flight, field by field, and the counters."""

    lanes: dict[str, Array]
    work: dict[str, Array]  # record 0 is a lane at rest; queued pixels follow
    done: dict[str, Array]
    counters: Array

    QUEUED, WAITING, LIVE, UNTRIED, ROW, COL, COUNTERS = range(7)

    @classmethod
    def at(cls, body: Body, memory: Value, plan: Plan) -> "State":
        """The state that begins at this address."""
        doubles = Array(body, memory, "double")
        offset = 0
        parts: list[dict[str, Array]] = []
        for length in (plan.all_lanes, plan.work_length, plan.done_length):
            parts.append({})
            for field in FIELDS:
                parts[-1][field] = Array(body, doubles.at(offset), "double")
                offset += -(-length // 8) * 8
        lanes, work, done = parts
        return cls(lanes, work, done, counters=Array(body, doubles.at(offset), "i64"))

    @classmethod
    def size(cls, plan: Plan) -> int:
        """How many doubles it takes."""
        lengths = (plan.all_lanes, plan.work_length, plan.done_length)
        return sum(-(-length // 8) * 8 for length in lengths) * len(FIELDS) + cls.COUNTERS


class Job:
    """The job's items, loaded where they are used."""

    def __init__(self, body: Body, address: Value) -> None:
        self._body, self._items = body, Array(body, address, "i64")

    def get(self, name: str) -> Value:
        kind = JOB[name]
        return self._body.emit(kind, f"load {kind}, {self._items.at(list(JOB).index(name))}, align 8")

    def array(self, name: str, element: str) -> Array:
        return Array(self._body, self.get(name), element)

    def set(self, name: str, value: Value) -> None:
        self._body.line(f"store {value}, {self._items.at(list(JOB).index(name))}, align 8")
