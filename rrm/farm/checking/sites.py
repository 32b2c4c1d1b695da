"""Which examinations a site gets."""

from __future__ import annotations

from rrm.farm.checking import letter, local, remote, slurm
from rrm.farm.checking.letter import Check, Examination
from rrm.farm.models import Site


def check(site: Site) -> list[Check]:
    """Everything that was tried at the site, in order. Takes half a minute at most, and changes nothing there."""
    with remote.Visit(site) as visit:
        return letter.written(_examinations(site, visit))


def _examinations(site: Site, visit: remote.Visit) -> list[Examination]:
    if not site.is_remote:
        return local.examinations()
    found = remote.examinations(visit)
    if site.kind == Site.Kind.SLURM:
        found += slurm.examinations(visit)
    return [*found, remote.route_back(visit)]
