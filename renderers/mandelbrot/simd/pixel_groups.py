"""Where pixels begin and end: groups of neighbours that get their first steps, and groups of finished ones."""

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.simd.emit import I64, POINTER, Array, Body, MaskVariable, Module, Value, Variable
from renderers.mandelbrot.simd.replay import Pixels, replay, smooth_value
from renderers.mandelbrot.simd.state import FIELDS, SURVIVOR, UNSET, Job, Plan, State

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
        self.smooth.set_where(mask, place, smooth.to("float", "fptrunc"))

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
        anything = wanted[0].get()
        for mask in wanted[1:]:
            anything = anything | mask.get()
        with body.when(body.any(anything)):
            _first_steps(group, formula, [mask.get() for mask in wanted])
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
        group.write(k, mask & inside, limit, limit)
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
        any_ended = ended[0]
        for mask in ended[1:]:
            any_ended = any_ended | mask
        counters.set(State.UNTRIED, body.any(any_ended).select(0, body.value(I64, UNTRIED)))
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
        state, job = State.at(body, memory, plan), Job(body, address)
        limit = job.get("limit")
        waiting = state.counters.get(State.WAITING)
        first = body.larger(waiting - plan.group, 0)
        index = body.sequence(plan.numbers.of("i64"))
        vectors, present = [], []
        for k in range(plan.group_vectors):
            place = first + k * plan.lanes
            orbit = {field: state.done[field].get(place, plan.lanes) for field in FIELDS}
            present.append(MaskVariable(body, index + place < waiting))
            vectors.append(Pixels.begin(body, plan, orbit, present[k].get(), limit))
        replay(body, formula.step, vectors, limit, job.get("radius2"))
        results = _Results(body, plan)
        for k, pixels in enumerate(vectors):
            results.keep(k, pixels.n.get(), smooth_value(body, formula, pixels, limit))
        results.write(state.done["id"], first, waiting, job)
        if formula == MANDELBROT:
            with body.when(~_is_null(body, job)):
                _collect(body, state, job, plan, first, vectors, present)
        state.counters.set(State.WAITING, first)
        body.give()


class _Results:
    """Results of a group on their way to pixels that are not neighbours."""

    def __init__(self, body: Body, plan: Plan) -> None:
        self._body, self._plan = body, plan
        self._counts, self._smooth = body.array("i32", plan.group), body.array("float", plan.group)

    def keep(self, vector: int, counts: Value, smooth: Value) -> None:
        self._counts.set(vector * self._plan.lanes, counts.to("i32", "fptosi"))
        self._smooth.set(vector * self._plan.lanes, smooth.to("float", "fptrunc"))

    def write(self, ids: Array, first: Value, stop: Value, job: Job) -> None:
        counts, smooth = job.array("counts", "i32"), job.array("smooth", "float")
        with self._body.counted(0, stop - first) as k:
            pixel = ids.get(first + k).to("i64", "fptosi")
            counts.set(pixel, self._counts.get(k))
            smooth.set(pixel, self._smooth.get(k))


def _is_null(body: Body, job: Job) -> Value:
    return job.get("survivors").to("i64", "ptrtoint").equals(0)


def _collect(
    body: Body, state: State, job: Job, plan: Plan, first: Value, vectors: list[Pixels], present: list[MaskVariable]
) -> None:
    """Append the pixels that reached the limit to the survivors: where their orbits are, c, and which they are."""
    survivors = job.array("survivors", "double")
    limit = job.get("limit")
    for k, pixels in enumerate(vectors):
        bits = Variable(body, I64, body.bits(present[k].get() & (pixels.n.get() >= limit)))
        place = first + k * plan.lanes
        orbit = [body.array("double", plan.lanes) for _ in range(2)]
        orbit[0].set(0, pixels.x.get())
        orbit[1].set(0, pixels.y.get())
        with body.loop() as loop:
            loop.leave_if(bits.get().equals(0))
            lane = body.lowest(bits.get())
            bits.set(bits.get() & (bits.get() - 1))
            count = job.get("survived")
            others = [state.done[field].get(place + lane) for field in ("cx", "cy", "id")]
            for item, value in enumerate([orbit[0].get(lane), orbit[1].get(lane), *others]):
                survivors.set(count * SURVIVOR + item, value)
            job.set("survived", count + 1)


