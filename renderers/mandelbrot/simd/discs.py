"""Discs that are certainly inside the Mandelbrot set, found around pixels whose orbits stayed.

Where the critical orbit is attracted by a cycle of minimal period p and multiplier λ, |λ| < 1, the multiplier maps the
component one to one onto the unit disc, so its conformal radius there is d = (1 - |λ|²) / |dλ/dc|, and by Koebe's
quarter theorem the disc of radius d/4 lies inside. p must be the minimal period: for a multiple of it the map is not
one to one and d is too large.
"""

from dataclasses import dataclass

from renderers.mandelbrot.formulas import square
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.state import SURVIVOR, UNSET, Plan
from renderers.mandelbrot.simd.values import DOUBLE, I64, POINTER, Array, MaskVariable, Type, Value, Variable

LONGEST_PERIOD = 128.0
NEWTON_STEPS = 5
RETURNED = 1e-20  # squared distance to itself at which an orbit has certainly found its cycle
CLEARLY_NEARER = 0.25  # of squared distances: multiples of a period come nearer by little
CONVERGED = 1e-24  # squared length of the last Newton step
SAME_POINT = 1e-18  # squared distance of two points of a cycle that are one
ATTRACTING = 0.9999  # |λ|² above which rounding would show in d
QUARTER = 0.2499
MARGIN = 1e-12  # absolute, for what rounding does to d and to coordinates

COVER = [
    *((name, POINTER) for name in ("survivors", "counts", "smooth")),
    *((name, I64) for name in ("survived", "cols", "rows", "coarse_cols", "stride")),
    *((name, DOUBLE) for name in ("dx", "dy", "limit")),
]


@dataclass(frozen=True)
class Complex:
    """Two vectors."""

    re: Value
    im: Value

    def __add__(self, other: "Complex") -> "Complex":
        return Complex(self.re + other.re, self.im + other.im)

    def __sub__(self, other: "Complex") -> "Complex":
        return Complex(self.re - other.re, self.im - other.im)

    def __mul__(self, other: "Complex") -> "Complex":
        return Complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __truediv__(self, other: "Complex") -> "Complex":
        size = other.norm
        product = self * Complex(other.re, 0.0 - other.im)
        return Complex(product.re / size, product.im / size)

    def doubled(self) -> "Complex":
        return Complex(self.re + self.re, self.im + self.im)

    @property
    def norm(self) -> Value:
        """The squared modulus."""
        return self.re * self.re + self.im * self.im


class ComplexVariable:
    """A complex number that changes."""

    def __init__(self, body: Body, kind: Type, re: Value | float, im: Value | float = 0.0) -> None:
        self._re, self._im = Variable(body, kind, re), Variable(body, kind, im)

    def get(self) -> Complex:
        return Complex(self._re.get(), self._im.get())

    def set(self, value: Complex, where: Value) -> None:
        self._re.set(where.select(value.re, self._re.get()))
        self._im.set(where.select(value.im, self._im.get()))


class _Cycles:
    """A vector of survivors: their orbits, c, and what is known of the cycles that attract them."""

    def __init__(self, body: Body, plan: Plan, orbit: list[Array]) -> None:
        self.body, self.kind = body, plan.numbers
        x, y, cx, cy = (array.get(0, plan.lanes) for array in orbit)
        self.c = Complex(cx, cy)
        self.point = ComplexVariable(body, self.kind, x, y)
        self.period = Variable(body, self.kind, 0.0)
        self.always = self.period.get() <= 0.0

    def step(self, z: Complex) -> Complex:
        return Complex(*square(z.re, z.im, self.c.re, self.c.im))

    def find_period(self) -> None:
        """The number of steps after which the orbit comes nearest to where it is."""
        body, start = self.body, self.point.get()
        z = ComplexVariable(body, self.kind, start.re, start.im)
        nearest, count = Variable(body, self.kind, 1e300), Variable(body, DOUBLE, 0.0)
        with body.loop() as loop:
            moved = self.step(z.get())
            z.set(moved, self.always)
            count.set(count.get() + 1.0)
            distance = (moved - start).norm
            nearer = distance < nearest.get() * CLEARLY_NEARER
            nearest.set(nearer.select(distance, nearest.get()))
            self.period.set(nearer.select(body.value(self.kind, count.get()), self.period.get()))
            loop.leave_if(~body.any(nearest.get() > RETURNED))
            loop.leave_if(count.get() >= LONGEST_PERIOD)

    def improve(self) -> Value:
        """Newton's steps to the point of the cycle; a mask of those that got there."""
        body = self.body
        converged = MaskVariable(body, ~self.always)
        one = Complex(body.value(self.kind, 1.0), body.value(self.kind, 0.0))
        with body.counted(0, NEWTON_STEPS):
            start = self.point.get()
            z = ComplexVariable(body, self.kind, start.re, start.im)
            slope = ComplexVariable(body, self.kind, 1.0)
            with self._around() as turning:
                slope.set((z.get() * slope.get()).doubled(), turning)
                z.set(self.step(z.get()), turning)
            correction = (z.get() - start) / (slope.get() - one)
            self.point.set(start - correction, self.always)
            converged.set(correction.norm < CONVERGED)
        return converged.get()

    def reduce_period(self) -> Value:
        """To the minimal one; a mask of those that do return."""
        body, start = self.body, self.point.get()
        z = ComplexVariable(body, self.kind, start.re, start.im)
        minimal, count = Variable(body, self.kind, 0.0), Variable(body, self.kind, 0.0)
        with self._around() as turning:
            z.set(self.step(z.get()), turning)
            count.set(count.get() + 1.0)
            found = turning & ((z.get() - start).norm < SAME_POINT) & minimal.get().equals(0.0)
            minimal.set(found.select(count.get(), minimal.get()))
        self.period.set(minimal.get())
        return minimal.get() > 0.0

    def conformal_radius(self) -> Value:
        """d; 0 where the cycle does not attract well."""
        body, start = self.body, self.point.get()
        z = ComplexVariable(body, self.kind, start.re, start.im)
        dz = ComplexVariable(body, self.kind, 1.0)
        dc, dzz, dcz = (ComplexVariable(body, self.kind, 0.0) for _ in range(3))
        one = Complex(body.value(self.kind, 1.0), body.value(self.kind, 0.0))
        with self._around() as turning:
            a, by_z, by_c = z.get(), dz.get(), dc.get()
            dcz.set((a * dcz.get() + by_c * by_z).doubled(), turning)
            dzz.set((by_z * by_z + a * dzz.get()).doubled(), turning)
            dc.set((a * by_c).doubled() + one, turning)
            dz.set((a * by_z).doubled(), turning)
            z.set(self.step(a), turning)
        multiplier = dz.get()
        slope = dcz.get() + dzz.get() * dc.get() / (one - multiplier)
        radius = (1.0 - multiplier.norm) / body.root(slope.norm)
        return (multiplier.norm < ATTRACTING).select(radius, 0.0)

    def _around(self) -> "_Turns":
        return _Turns(self.body, self.period.get())


class _Turns:
    """A loop once around each cycle; gives the mask of those that still turn."""

    def __init__(self, body: Body, period: Value) -> None:
        self._body, self._period = body, period
        self._done = Variable(body, DOUBLE, 0.0)
        self._loop = body.loop()

    def __enter__(self) -> Value:
        loop = self._loop.__enter__()
        turning = self._period > self._body.value(self._period.type, self._done.get())
        loop.leave_if(~self._body.any(turning))
        return turning

    def __exit__(self, *_: object) -> None:
        self._done.set(self._done.get() + 1.0)
        self._loop.__exit__(None, None, None)


def write_cover(module: Module, plan: Plan) -> None:
    """cover(…): set the pixels of the discs around these survivors of a coarse grid to the limit.

    The coarse grid has every stride-th column and row, from stride // 2 on. Survivors whose pixel is covered already
    are left out.
    """
    with module.function("cover", COVER, I64, exported=True) as (body, arguments):
        given = dict(zip((name for name, _ in COVER), arguments, strict=True))
        survivors = Array(body, given["survivors"], "double")
        counts = Array(body, given["counts"], "i32")
        orbit = [body.array("double", plan.lanes) for _ in range(4)]
        rows, cols = body.array("i64", plan.lanes), body.array("i64", plan.lanes)
        taken = Variable(body, I64, 0)
        last = given["survived"] - 1
        with body.counted(0, given["survived"]) as k:
            pixel = survivors.get(k * SURVIVOR + 4).to("i64", "fptosi")
            row, col = (
                _fine(body, place, given) for place in (pixel // given["coarse_cols"], pixel % given["coarse_cols"])
            )
            slot = taken.get()
            for item, array in enumerate(orbit):
                array.set(slot, survivors.get(k * SURVIVOR + item))
            rows.set(slot, row)
            cols.set(slot, col)
            is_open = counts.get(row * given["cols"] + col).equals(UNSET)
            taken.set(slot + is_open.to("i64", "zext"))
            is_due = taken.get().equals(plan.lanes) | (k.equals(last) & (taken.get() > 0))
            with body.when(is_due):
                _cover_batch(body, plan, given, orbit, (rows, cols), taken)
        body.give(body.value(I64, 0))


def _fine(body: Body, place: Value, given: dict[str, Value]) -> Value:
    """A place of the coarse grid in the fine one."""
    return place * given["stride"] + given["stride"] // 2


def _cover_batch(
    body: Body, plan: Plan, given: dict[str, Value], orbit: list[Array], places: tuple[Array, Array], taken: Variable
) -> None:
    """Cover the discs of the survivors gathered so far, and begin to gather anew."""
    cycles = _Cycles(body, plan, orbit)
    cycles.find_period()
    converged = MaskVariable(body, cycles.improve())
    returns = MaskVariable(body, cycles.reduce_period())
    radius = cycles.conformal_radius() * QUARTER - MARGIN
    radii = body.array("double", plan.lanes)
    radii.set(0, (converged.get() & returns.get()).select(radius, 0.0))
    with body.counted(0, taken.get()) as k, body.when(radii.get(k) > 0.0):
        _cover_disc(body, plan, given, (places[0].get(k), places[1].get(k)), radii.get(k))
    taken.set(0)


def _cover_disc(body: Body, plan: Plan, given: dict[str, Value], place: tuple[Value, Value], radius: Value) -> None:
    """Set the pixels of one disc, unless its centre is covered by another."""
    counts, smooth = Array(body, given["counts"], "i32"), Array(body, given["smooth"], "float")
    row, col = place
    limits = body.value(plan.numbers, given["limit"])
    count, value = limits.to("i32", "fptosi"), limits.to("float", "fptrunc")
    index = body.sequence(plan.numbers.of("i64"))
    with body.when(counts.get(row * given["cols"] + col).equals(UNSET)):
        reach = _whole(body, radius / given["dy"], given["rows"])
        lowest, highest = body.larger(row - reach, 0), body.smaller(row + reach + 1, given["rows"])
        with body.counted(lowest, highest) as line:
            off = (line - row).to("double", "sitofp") * given["dy"]
            half = _whole(body, body.root(radius * radius - off * off) / given["dx"], given["cols"])
            left, right = body.larger(col - half, 0), body.smaller(col + half + 1, given["cols"])
            with body.counted(left, right, plan.lanes) as first:
                exist = index + first < right
                counts.set_where(exist, line * given["cols"] + first, count)
                smooth.set_where(exist, line * given["cols"] + first, value)


def _whole(body: Body, pixels: Value, most: Value) -> Value:
    """Whole pixels of a length, `most` at most."""
    return body.smaller(pixels, most.to("double", "sitofp")).to("i64", "fptosi")
