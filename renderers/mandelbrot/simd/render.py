"""The whole kernel of one formula as a module of LLVM IR."""

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.simd.discs import write_cover
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.lanes import write_advance, write_exchange
from renderers.mandelbrot.simd.pixel_groups import write_finish, write_head
from renderers.mandelbrot.simd.state import FIELDS, NEVER, NOBODY, Job, Plan, State
from renderers.mandelbrot.simd.values import DOUBLE, I64, POINTER, VOID, Array, Value, Variable


def kernel_text(plan: Plan, formula: Formula) -> str:
    """IR of `render(job) -> 1`, or 0 when the stop flag was raised meanwhile; and of `cover` for the Mandelbrot set."""
    module = Module(fused=any(plan.fused), has_masks=plan.has_masks)
    write_advance(module, plan, formula.step)
    write_exchange(module, plan)
    write_head(module, plan, formula)
    write_finish(module, plan, formula)
    if formula == MANDELBROT:
        write_cover(module, plan)
    with module.function("render", [("job", POINTER)], I64, exported=True) as (body, (address,)):
        _write_render(body, plan, address)
    return module.text()


def _write_render(body: Body, plan: Plan, address: Value) -> None:
    memory = Value(body, POINTER, body.reserve(f"[{State.size(plan)} x double]"))
    state, job = State.at(body, memory, plan), Job(body, address)
    stop, counters, rows = job.array("stop", "i8"), state.counters, job.get("rows")
    _clear(body, plan, state, memory)
    to_exchange = Variable(body, I64, (1 << plan.all_lanes) - 1)
    with body.loop() as loop:
        with body.loop() as filling:
            filling.leave_if(counters.get(State.ROW) >= rows)
            filling.leave_if(counters.get(State.QUEUED) >= plan.all_lanes)
            filling.leave_if(~stop.get(0).equals(0))
            body.call("head", VOID, memory, address)
        body.call("exchange", VOID, memory, to_exchange.get())
        with body.loop() as finishing:
            finishing.leave_if(counters.get(State.WAITING) < plan.group)
            body.call("finish", VOID, memory, address)
        loop.leave_if(counters.get(State.LIVE) <= 0)
        loop.leave_if(~stop.get(0).equals(0))
        to_exchange.set(body.call("advance", I64, memory, address))
    with body.loop() as flushing:
        flushing.leave_if(counters.get(State.WAITING) <= 0)
        body.call("finish", VOID, memory, address)
    body.give(stop.get(0).equals(0).to("i64", "zext"))


def _clear(body: Body, plan: Plan, state: State, memory: Value) -> None:
    """Every lane is at rest, nothing is queued; memory that vectors may read before it is written holds zeros."""
    doubles = Array(body, memory, "double")
    with body.counted(0, State.size(plan)) as k:
        doubles.set(k, body.value(DOUBLE, 0.0))
    resting = {"n": NEVER, "id": NOBODY}
    for field in FIELDS:
        value = body.value(DOUBLE, resting.get(field, 0.0))
        state.work[field].set(0, value)
        with body.counted(0, plan.all_lanes) as k:
            state.lanes[field].set(k, value)
