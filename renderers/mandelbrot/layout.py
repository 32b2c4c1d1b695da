"""Sizes that compiled and calling code agree on."""

TABLE_SIZE = 4096  # colours of one cycle, a power of two; one more entry is the interior's
CHANNELS = 3

LANES = 64
GROUP = 64
BLOCK = 16  # untested steps
HEAD = 24  # tested steps before a pixel gets a lane: most pixels of an overview end here
WAITING = 6  # lanes that may wait for their replay before all lanes are gone through
FAR = 1e10  # |z|² at which the smooth value is taken: closer to its limit than float32 can tell
FURTHER = 12.0  # steps in which an escaped orbit is expected to get there
STACK = LANES + GROUP

# Fields of a pixel in flight. A buffer holds them as consecutive arrays: the compiler can see that they do not overlap.
X, Y, CX, CY, N, ID, FLAG, VALUE, FIELDS = range(9)
GROUP_AT = FIELDS * LANES  # where the buffers begin in the scratch memory, after the lanes
WORK_AT = GROUP_AT + FIELDS * STACK
DONE_AT = WORK_AT + FIELDS * STACK
SCRATCH = DONE_AT + FIELDS * STACK  # doubles
