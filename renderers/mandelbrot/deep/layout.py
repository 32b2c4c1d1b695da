"""Sizes and places that compiled and calling code agree on."""

SHORTEST = 4  # stretches have 2^4 steps and more
BLOCK = 1 << SHORTEST
ENTRY = 5  # doubles of a stretch: r, A and B
BOUNDS = 2  # doubles of a block: the reach of the plain steps, and r of its shortest stretch
TINY_ENTRY = 4  # slots of a value of the reference below the range of doubles: its step, 2X, 2Y and the exponent
WIDE_ENTRY = 8  # slots of such a stretch: r and its exponent, A and its exponent, B and its exponent
TINY = 2.0**-900  # a value of the reference below this is kept a second time, with an exponent of its own
NOTHING = -(1 << 28)  # the exponent of zero: below any other
NEAR = -400  # dz of at least 2^NEAR is within the range of doubles, and so is its square
PADDING = 2 * BLOCK  # values after the orbit's last that may be read

FAR = 1e10  # |z|² at which the smooth value is taken, as in double precision
FURTHER = 12  # steps in which an escaped orbit is expected to get there

# Fields of a pixel in flight; a buffer holds them as consecutive arrays of 64-bit slots, one slot for each lane.
X, Y, STEP, OFFSET, CX, CY, ID, GOES, ZX, ZY, FIELDS = range(11)
# Fields of a group, after those: the reference index of the lanes that go on, its limit, and how far a turn takes it.
INDEX, LIMIT, STRIDE, GROUP_FIELDS = range(4)


def state_slots(width: int, groups: int) -> int:
    """Slots of the kernel's state for so many groups of so many lanes."""
    return (FIELDS * width + GROUP_FIELDS) * groups
