"""The hot loop: all lanes advance by blocks of untested steps, and lanes that end are exchanged for waiting pixels."""

from renderers.mandelbrot.formulas import Step
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.state import FIELDS, Job, Plan, State
from renderers.mandelbrot.simd.values import I64, POINTER, Value, Variable

LONGEST = 4096.0  # blocks between two looks at the stop flag: a millisecond


def write_advance(module: Module, plan: Plan, step: Step) -> None:
    """advance(state, job) -> bit mask of the lanes to exchange.

    It returns when `waiting` lanes did not commit their last block (an orbit that left the radius keeps growing, so
    looking once per block misses none), or a lane has less than a block left. A lane that does not commit stays at the
    beginning of its block.
    """
    with module.function("advance", [("state", POINTER), ("job", POINTER)], I64) as (body, (memory, address)):
        state, job = State.at(body, memory, plan), Job(body, address)
        radius2, last = job.get("radius2"), job.get("limit") - float(plan.block)
        patience = body.smaller(state.counters.get(State.LIVE), plan.waiting)
        hot = _HotLanes(body, plan, state)
        most = hot.most_steps()
        blocks = body.smaller((last - most) * (1.0 / plan.block) + 1.0, LONGEST).to("i64", "fptosi")
        done = Variable(body, I64, 0)
        with body.loop() as loop:
            loop.leave_if(done.get() >= blocks)
            held = hot.block(step, radius2)
            done.set(done.get() + 1)
            loop.leave_if(held >= patience)
        hot.keep(done.get())
        body.give(hot.to_exchange(last))


class _HotLanes:
    """The lanes in registers."""

    def __init__(self, body: Body, plan: Plan, state: State) -> None:
        self._body, self._plan, self._state = body, plan, state
        self._each = range(plan.vectors)
        self._x, self._y, self._n = ([Variable(body, plan.numbers, v) for v in self._load(f)] for f in ("x", "y", "n"))
        self._held = [Variable(body, I64, 0) for _ in self._each]
        # Counting the rare blocks that are not committed takes one masked instruction, counting the others two.
        self._missed = [Variable(body, plan.numbers, 0.0) for _ in self._each]

    def _load(self, field: str) -> list[Value]:
        plan = self._plan
        return [self._state.lanes[field].get(k * plan.lanes, plan.lanes) for k in self._each]

    def most_steps(self) -> Value:
        """The n of the lane that is furthest."""
        body, most = self._body, self._n[0].get()
        for n in self._n[1:]:
            most = body.larger(n.get(), most)
        lanes = body.array("double", self._plan.lanes)
        lanes.set(0, most)
        result = lanes.get(0)
        for k in range(1, self._plan.lanes):
            result = body.larger(lanes.get(k), result)
        return result

    def block(self, step: Step, radius2: Value) -> Value:
        """One block; answers how many lanes did not commit it."""
        body, plan = self._body, self._plan
        cx, cy = self._load("cx"), self._load("cy")
        x, y = [v.get() for v in self._x], [v.get() for v in self._y]
        for _ in range(plan.block):
            for k in self._each:
                body.fused = plan.fused[k % len(plan.fused)]
                x[k], y[k] = step(x[k], y[k], cx[k], cy[k])
        held = body.value(I64, 0)
        for k in self._each:
            stays = ~(x[k] * x[k] + y[k] * y[k] <= radius2)
            self._x[k].set(stays.select(self._x[k].get(), x[k]))
            self._y[k].set(stays.select(self._y[k].get(), y[k]))
            missed = self._missed[k].get()
            self._missed[k].set(stays.select(missed + 1.0, missed))
            self._held[k].set(body.bits(stays))
            held = held + body.population(self._held[k].get())
        return held

    def keep(self, blocks: Value) -> None:
        """Write the lanes back after so many blocks."""
        for n, missed in zip(self._n, self._missed, strict=True):
            committed = self._body.value(self._plan.numbers, blocks.to("double", "sitofp")) - missed.get()
            n.set(n.get() + committed * float(self._plan.block))
        for field, variables in (("x", self._x), ("y", self._y), ("n", self._n)):
            for k in self._each:
                self._state.lanes[field].set(k * self._plan.lanes, variables[k].get())

    def to_exchange(self, last: Value) -> Value:
        """Bit mask of the lanes that are held or have less than a block left."""
        result = self._body.value(I64, 0)
        for k in self._each:
            ended = self._body.bits(self._n[k].get() > last) | self._held[k].get()
            result = result | (ended << (k * self._plan.lanes))
        return result


def write_exchange(module: Module, plan: Plan) -> None:
    """exchange(state, lanes): pixels of these lanes go to `done`, others come from `work`, or the lanes rest."""
    with module.function("exchange", [("state", POINTER), ("lanes", I64)]) as (body, (memory, chosen)):
        state = State.at(body, memory, plan)
        counters = state.counters
        rest, queued = Variable(body, I64, chosen), Variable(body, I64, counters.get(State.QUEUED))
        waiting, live = Variable(body, I64, counters.get(State.WAITING)), Variable(body, I64, counters.get(State.LIVE))
        with body.loop() as loop:
            loop.leave_if(rest.get().equals(0))
            lane, source, target = body.lowest(rest.get()), queued.get(), waiting.get()
            rest.set(rest.get() & (rest.get() - 1))
            leaves = (state.lanes["id"].get(lane) >= 0.0).to("i64", "zext")
            for field in FIELDS:
                state.done[field].set(target, state.lanes[field].get(lane))
                state.lanes[field].set(lane, state.work[field].get(source))
            waiting.set(target + leaves)
            comes = (source > 0).to("i64", "zext")
            queued.set(source - comes)
            live.set(live.get() - leaves + comes)
        for index, variable in ((State.QUEUED, queued), (State.WAITING, waiting), (State.LIVE, live)):
            counters.set(index, variable.get())
        body.give()
