"""Sizes and places that compiled and calling code agree on."""

from renderers.mandelbrot.deep.bla import BLOCK, SHORTEST

ENTRY = 5  # doubles of a stretch: r, A and B
BOUNDS = 2  # doubles of a block: the reach of the plain steps, and r of its shortest stretch
PADDING = 2 * BLOCK  # values after the orbit's last that may be read

FAR = 1e10  # |z|² at which the smooth value is taken, as in double precision
FURTHER = 12  # steps in which an escaped orbit is expected to get there

# Fields of a pixel in flight; a buffer holds them as consecutive arrays of 64-bit slots, one slot for each lane.
X, Y, CX, CY, STEP, OFFSET, ID, GOES, ZX, ZY, FIELDS = range(11)
# Fields of a group, after those: the reference index of the lanes that go on, its limit, and how far a turn takes it.
INDEX, LIMIT, STRIDE, GROUP_FIELDS = range(4)

__all__ = ["BLOCK", "SHORTEST"]
