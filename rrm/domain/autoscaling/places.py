"""Where nodes are launched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rrm.domain.autoscaling.facts import Need, SiteRoom


def placed(needs: Sequence[Need], counts: Counter[str], sites: Sequence[SiteRoom], count: int) -> tuple[str, ...]:
    """A site for each of at most `count` nodes: first where work is bound to, then by preference, as room allows."""
    chosen = for_needs(needs, counts, sites)
    for site in sites:
        chosen += [site.id] * max(site.room - chosen.count(site.id), 0)
    return tuple(chosen[:count])


def for_needs(
    needs: Sequence[Need],
    counts: Counter[str],
    sites: Sequence[SiteRoom],
    passes: Sequence[int | None] = (1, None),
) -> list[str]:
    """The sites where needs lack nodes: first one for each need, then the others, as far as there is room."""
    counts, room = counts.copy(), {site.id: site.room for site in sites}
    chosen: list[str] = []
    for least in passes:
        for need in needs:
            while need.met_by(counts) < (least or need.nodes):
                site = next((site.id for site in sites if site.id in need.sites and room[site.id] > 0), None)
                if site is None:
                    break
                chosen.append(site)
                counts[site] += 1
                room[site] -= 1
    return chosen
