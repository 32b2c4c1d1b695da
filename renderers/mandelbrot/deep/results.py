"""Writing what became of a pixel."""

from renderers.mandelbrot.deep.emission import DOUBLE, FLOAT, INTEGER, WHOLE, Value
from renderers.mandelbrot.deep.lanes import Lanes, Pair
from renderers.mandelbrot.deep.layout import CX, CY, FAR, FURTHER, GOES, ID, ZX, ZY
from renderers.mandelbrot.deep.logarithm import log2


class Results(Lanes):
    """Writes what ends a pixel."""

    def _escape(self, v: Value, escaped: Value, z: Pair, counts: Value) -> None:
        """Write the pixels of these lanes."""
        code = self.code
        for field, value in ((ZX, z[0]), (ZY, z[1]), (GOES, counts)):
            self._put(field, v, value)
        with code.each_bit(code.bits(escaped)) as number:
            lane = v * self.width + number
            count = code.load(self._lane(GOES, lane), 0, INTEGER)
            self._write(lane, count, self._told_apart(code.convert("sitofp", count, DOUBLE) + self._fraction(lane)))

    def _fraction(self, lane: Value) -> Value:
        """e - log2(log2 |z|), where z is e - 1 steps after the escape and far outside."""
        code = self.code
        c = [code.load(self._lane(field, lane)) + own for field, own in ((CX, self.cx), (CY, self.cy))]
        x, y = (code.variable(code.load(self._lane(field, lane))) for field in (ZX, ZY))
        e = code.variable(code.constant(INTEGER, 1))
        with code.loop() as loop:
            xx, yy = x.value * x.value, y.value * y.value
            loop.leave_when((xx + yy >= FAR) | (e.value >= FURTHER))
            product = x.value * y.value
            y.value = product + product + c[1]
            x.value = xx - yy + c[0]
            e.value = e.value + 1
        magnitude = x.value * x.value + y.value * y.value
        return code.convert("sitofp", e.value, DOUBLE) - log2(log2(magnitude) * 0.5)

    def _told_apart(self, value: Value) -> Value:
        """The smooth value of an escaped pixel, which is that of no pixel inside even as a float."""
        code = self.code
        inside, found = (code.convert("fptrunc", number, FLOAT) for number in (self._limit, value))
        below = code.convert("bitcast", code.convert("bitcast", inside, WHOLE) - 1, FLOAT)
        return code.convert("fpext", code.select(found.equals(inside), below, found), DOUBLE)

    @property
    def _limit(self) -> Value:
        return self.code.convert("sitofp", self.max_iter, DOUBLE)

    def _write(self, lane: Value, count: Value, value: Value) -> None:
        """Store a pixel's result and free its lane."""
        code = self.code
        pixel = code.load(self._lane(ID, lane), 0, INTEGER)
        code.store(code.convert("trunc", count, WHOLE), self.counts, pixel)
        code.store(code.convert("fptrunc", value, FLOAT), self.smooth, pixel)
        code.store(code.constant(INTEGER, -1), self._lane(ID, lane))
