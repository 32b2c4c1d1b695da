"""Where nodes are launched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rrm.domain.autoscaling.facts import Need, SiteRoom


def placed(
    needs: Sequence[Need], counts: Counter[str], sites: Sequence[SiteRoom], count: int, anywhere: int
) -> tuple[str, ...]:
    """A site for each of at most `count` nodes: first where work is bound to, then by preference, as room allows.

    Where nothing is bound to, nodes are of use for the rest alone: `anywhere` are all that it wants.
    """
    bound = for_needs(needs, counts, sites)
    useful = {site for need in needs for site in need.sites}
    taken, chosen = Counter[str](), list[str]()
    for site, nodes in bound:
        taken[site] += nodes
        chosen += [site] * min(nodes, count - len(chosen))
    left = anywhere - sum(nodes for site, nodes in counts.items() if site not in useful)
    for place in sites:
        nodes = min(place.whole - taken[place.id], count - len(chosen))
        if needs and place.id not in useful:
            nodes = min(nodes, left)
            left -= max(nodes, 0)
        chosen += [place.id] * nodes
    return tuple(chosen)


def whole(chosen: Sequence[str], sites: Sequence[SiteRoom], most: int) -> tuple[str, ...]:
    """The same in whole launches: each site's last one is made full, or left out where `most` nodes do not allow it."""
    made = list(chosen)
    for site in sites:
        if over := made.count(site.id) % site.machines:
            more = site.machines - over
            if len(made) + more <= most:
                made += [site.id] * more
            else:
                whole_launches = [index for index, id_ in enumerate(made) if id_ == site.id][:-over]
                made = [id_ for index, id_ in enumerate(made) if id_ != site.id or index in whole_launches]
    return tuple(made)


def for_needs(
    needs: Sequence[Need],
    counts: Counter[str],
    sites: Sequence[SiteRoom],
    passes: Sequence[int | None] = (1, None),
) -> list[tuple[str, int]]:
    """The sites where needs lack nodes, and how many: first one for each need, then the others, as far as room allows.

    Its cost depends on the number of needs and sites, and not on how many nodes they want or have room for.
    """
    counts, room = counts.copy(), {site.id: site.whole for site in sites}
    chosen: list[tuple[str, int]] = []
    for least in passes:
        for need in needs:
            for site in (site.id for site in sites if site.id in need.sites):
                nodes = min(room[site], (least or need.nodes) - need.met_by(counts))
                if nodes > 0:
                    chosen.append((site, nodes))
                    counts[site] += nodes
                    room[site] -= nodes
    return chosen
