"""Where pixels begin and end: groups of neighbours that get their first steps, and groups of finished ones."""

from functools import reduce
from operator import or_

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.replay import Pixels, replay, smooth_value
from renderers.mandelbrot.simd.state import FIELDS, SURVIVOR, UNSET, Job, Plan, State
from renderers.mandelbrot.simd.values import I64, POINTER, MaskVariable, Value, Variable

UNTRIED = 8  # groups: after one in which no pixel ended in its head, so many do without


class _Group:
    """The next pixels of the current row, one vector after the other."""

    def __init__(self, body: Body, plan: Plan, state: State, job: Job) -> None:
        self.body, self.plan, self.state, self.job = body, plan, state, job
        self.row, self.col, self.cols = state.counters.get(State.ROW), state.counters.get(State.COL), job.get("cols")
        self.counts, self.smooth = job.array("counts", "i32"), job.array("smooth", "float")
        self.start = self.row * self.cols + self.col
        self.limit = job.get("limit")
        y = body.value(plan.numbers, job.array("ys", "double").get(self.row))
        xs = job.array("xs", "double")
        self.points = [(xs.get(self.col + self.offset(k), plan.lanes), y) for k in range(plan.group_vectors)]

    def offset(self, vector: int) -> int:
        return vector * self.plan.lanes

    def wanted(self) -> list[MaskVariable]:
        """Pixels that exist and, if so ordered, are unset."""
        body, plan = self.body, self.plan
        index = body.sequence(plan.numbers.of("i64"))
        exist = [index + (self.offset(k) + self.col) < self.cols for k in range(plan.group_vectors)]
        wanted = [MaskVariable(body, mask) for mask in exist]
        with body.when(self.job.get("only_unset").equals(1)):
            for k, mask in enumerate(exist):
                known = self.counts.get_where(mask, self.start + self.offset(k), 0)
                wanted[k].set(mask & known.equals(UNSET))
        return wanted

    def write(self, vector: int, mask: Value, counts: Value, smooth: Value) -> None:
        place = self.start + self.offset(vector)
        self.counts.set_where(mask, place, counts.to("i32", "fptosi"))
        self.smooth.set_where(mask, place, smooth)

    def ids(self, vector: int) -> Value:
        index = self.body.sequence(self.plan.numbers)
        return index + (self.start + self.offset(vector)).to("double", "sitofp")


def write_head(module: Module, plan: Plan, formula: Formula) -> None:
    """head(state, job): take the next group of pixels, write those that end in few steps and queue the others."""
    with module.function("head", [("state", POINTER), ("job", POINTER)]) as (body, (memory, address)):
        state, job = State.at(body, memory, plan), Job(body, address)
        group = _Group(body, plan, state, job)
        wanted = group.wanted()
        if formula == MANDELBROT:
            with body.when(job.get("knows_components").equals(1)):
                _write_known(group, wanted)
        masks = [mask.get() for mask in wanted]
        with body.when(body.any(reduce(or_, masks))):
            _first_steps(group, formula, masks)
        _move_on(group)
        body.give()


def _write_known(group: _Group, wanted: list[MaskVariable]) -> None:
    """Pixels of the cardioid and of the disc beside it are inside."""
    for k, (x, y) in enumerate(group.points):
        yy, shifted, beside = y * y, x - 0.25, x + 1.0
        q = shifted * shifted + yy
        inside = (q * (q + shifted) <= yy * 0.25) | (beside * beside + yy <= 0.0625)
        mask = wanted[k].get()
        limit = group.body.value(group.plan.numbers, group.limit)
        group.write(k, mask & inside, limit, limit.to("float", "fptrunc"))
        wanted[k].set(mask & ~inside)


def _first_steps(group: _Group, formula: Formula, wanted: list[Value]) -> None:
    """The head of each pixel, left out while it ends none; then queue what has not ended."""
    body, plan, job, counters = group.body, group.plan, group.job, group.state.counters
    limit = group.limit
    head = body.smaller(limit, float(plan.head))
    is_julia, none = job.get("is_julia").equals(1), body.value(plan.numbers, 0.0)
    vectors = []
    for (x, y), mask in zip(group.points, wanted, strict=True):
        z, c = (x, y), (job.get("cx"), job.get("cy"))
        orbit = {"x": is_julia.select(z[0], none), "y": is_julia.select(z[1], none), "n": none}
        for name, constant, place in (("cx", c[0], x), ("cy", c[1], y)):
            orbit[name] = is_julia.select(body.value(plan.numbers, constant), place)
        vectors.append(Pixels.begin(body, plan, orbit, mask, head))
    todo = [MaskVariable(body, mask) for mask in wanted]
    untried = counters.get(State.UNTRIED)
    counters.set(State.UNTRIED, body.larger(untried - 1, 0))
    with body.when(untried.equals(0)):
        replay(body, formula.step, vectors, head, job.get("radius2"))
        ended = [_write_ended(group, formula, k, pixels, todo[k]) for k, pixels in enumerate(vectors)]
        counters.set(State.UNTRIED, body.any(reduce(or_, ended)).select(0, body.value(I64, UNTRIED)))
    for k, pixels in enumerate(vectors):
        _queue(group, k, pixels, todo[k].get())


def _write_ended(group: _Group, formula: Formula, k: int, pixels: Pixels, todo: MaskVariable) -> Value:
    """Write the pixels of one vector that have ended and take them from `todo`."""
    mask = todo.get()
    ended = mask & (pixels.has_escaped | (pixels.n.get() >= group.limit))
    group.write(k, ended, pixels.n.get(), smooth_value(group.body, formula, pixels, group.limit))
    todo.set(mask & ~ended)
    return ended


def _queue(group: _Group, k: int, pixels: Pixels, mask: Value) -> None:
    """Append the pixels in the mask to the work."""
    body, state = group.body, group.state
    queued = state.counters.get(State.QUEUED)
    values = {"x": pixels.x.get(), "y": pixels.y.get(), "cx": pixels.cx, "cy": pixels.cy, "n": pixels.n.get()}
    for field, value in {**values, "id": group.ids(k)}.items():
        state.work[field].set(queued + 1, body.compress(value, mask))
    state.counters.set(State.QUEUED, queued + body.population(body.bits(mask)))


def _move_on(group: _Group) -> None:
    """To the next group."""
    counters = group.state.counters
    col = group.col + group.plan.group
    ends = col >= group.cols
    row = group.row + ends.to("i64", "zext")
    counters.set(State.COL, ends.select(0, col))
    counters.set(State.ROW, row)


def write_finish(module: Module, plan: Plan, formula: Formula) -> None:
    """finish(state, job): replay and write the last group of the pixels that wait, or all of them if they are fewer."""
    with module.function("finish", [("state", POINTER), ("job", POINTER)]) as (body, (memory, address)):
        last = _Last(body, plan, State.at(body, memory, plan), Job(body, address))
        replay(body, formula.step, last.vectors, last.limit, last.job.get("radius2"))
        last.write(formula)
        if formula == MANDELBROT:
            with body.when(~last.job.get("survivors").to("i64", "ptrtoint").equals(0)):
                last.collect()
        last.state.counters.set(State.WAITING, last.first)
        body.give()


class _Last:
    """The last pixels that wait."""

    def __init__(self, body: Body, plan: Plan, state: State, job: Job) -> None:
        self.body, self.plan, self.state, self.job = body, plan, state, job
        self.limit = job.get("limit")
        self.waiting = state.counters.get(State.WAITING)
        self.first = body.larger(self.waiting - plan.group, 0)
        index = body.sequence(plan.numbers.of("i64"))
        self.vectors: list[Pixels] = []
        self.present: list[MaskVariable] = []
        for k in range(plan.group_vectors):
            place = self.first + k * plan.lanes
            orbit = {field: state.done[field].get(place, plan.lanes) for field in FIELDS}
            self.present.append(MaskVariable(body, index + place < self.waiting))
            self.vectors.append(Pixels.begin(body, plan, orbit, self.present[k].get(), self.limit))

    def write(self, formula: Formula) -> None:
        """Store the results where the pixels are."""
        body, plan = self.body, self.plan
        counts, smooth = body.array("i32", plan.group), body.array("float", plan.group)
        for k, pixels in enumerate(self.vectors):
            counts.set(k * plan.lanes, pixels.n.get().to("i32", "fptosi"))
            smooth.set(k * plan.lanes, smooth_value(body, formula, pixels, self.limit))
        counts_out, smooth_out = self.job.array("counts", "i32"), self.job.array("smooth", "float")
        with body.counted(0, self.waiting - self.first) as index:
            pixel = self.state.done["id"].get(self.first + index).to("i64", "fptosi")
            counts_out.set(pixel, counts.get(index))
            smooth_out.set(pixel, smooth.get(index))

    def collect(self) -> None:
        """Append the pixels that reached the limit to the survivors: where their orbits are, c, and which they are."""
        body, plan = self.body, self.plan
        survivors = self.job.array("survivors", "double")
        x, y = body.array("double", plan.lanes), body.array("double", plan.lanes)
        for k, pixels in enumerate(self.vectors):
            bits = Variable(body, I64, body.bits(self.present[k].get() & (pixels.n.get() >= self.limit)))
            x.set(0, pixels.x.get())
            y.set(0, pixels.y.get())
            with body.loop() as loop:
                loop.leave_if(bits.get().equals(0))
                lane = body.lowest(bits.get())
                bits.set(bits.get() & (bits.get() - 1))
                count, place = self.job.get("survived"), self.first + k * plan.lanes + lane
                others = [self.state.done[field].get(place) for field in ("cx", "cy", "id")]
                for item, value in enumerate([x.get(lane), y.get(lane), *others]):
                    survivors.set(count * SURVIVOR + item, value)
                self.job.set("survived", count + 1)
