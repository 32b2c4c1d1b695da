"""Trying whether nodes could work at a site, the way a node would, and telling it like a doctor's letter.

`letter` runs examinations in turn and writes down what was found; `local` has those of this machine, `remote` those of
a site reached over SSH, `slurm` what a cluster adds.
"""

from rrm.farm.checking.letter import Check
from rrm.farm.checking.sites import check

__all__ = ["Check", "check"]
