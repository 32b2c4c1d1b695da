"""A plan in words: one sentence for pages and events, and all of it for whoever asks why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rrm.domain.autoscaling.facts import TOLERANCE, UP_PERIODS, Demand, Limits, Plan, Reckoning, few

_OUTSIDE = "are taken by nodes of sessions' own and by nodes asked of sites out of reach"


def reason(made: Plan, limits: Limits) -> str:
    """One sentence."""
    why, lacks = made.reckoning, made.want > made.have
    table = (
        (made.launch, f": launching {_counted(made.launch, 'at')}."),
        (made.yields, f": making place, {_counted([rival for _, rival in made.yields], 'for')}."),
        (made.beyond, f": letting {len(made.beyond)} go, {_limits_that_are_passed(made, limits)}."),
        (made.drain, _letting_go(made)),
        (made.retire, _retiring(made)),
        (why.blocked and (lacks or not limits.enabled), f": launching none, since {why.blocked}."),
        (why.awaiting, f": {_awaiting(why)}."),
        (lacks and not why.within_tolerance, f": {_why_not_more(made, limits)}."),
        (_is_short(made, limits), f": {why.needed} are needed, and the maximum is {limits.max_nodes}."),
        (why.booked_beyond, f": {_booked_beyond(why, limits)}."),
        (why.misplaced, f": {why.misplaced} of them may do none of the work that waits."),
        (made.have > made.want, ": keeping those that are busy, pinned, wanted lately or not idle for long."),
    )
    return _facts(made) + next((sentence for applies, sentence in table if applies), ".")


def parting(made: Plan, node: str, limits: Limits) -> str:
    """Why this node goes, of those that the plan has leave."""
    if rival := dict(made.yields).get(node):
        return f"It makes place for {rival}, which lacks nodes and has no room."
    if (site := dict(made.beyond).get(node)) is not None:
        return f"It is {beyond(site, limits)}."
    if why := dict(made.reckoning.compelled).get(node):
        return f"It goes {why}."
    return _facts(made) + (_letting_go(made) if node in made.drain else _retiring(made))


def _facts(made: Plan) -> str:
    return f"{made.want} wanted, {made.have} exist"


def _letting_go(made: Plan) -> str:
    """How many are let go, and why: those that must, and others since they were not wanted lately."""
    causes = [f"{count} {why}" for why, count in Counter(why for _, why in made.reckoning.compelled).items()]
    if len(made.reckoning.compelled) == len(made.drain):
        return f": letting {', '.join(causes).replace(' ', ' go ', 1)}."
    told = f", at most {made.reckoning.peak} wanted lately: letting {len(made.drain)} go"
    return f"{', '.join([told, *causes])}."


def _retiring(made: Plan) -> str:
    return f": retiring {len(made.retire)}, as their time ends."


def _counted(names: Sequence[str], where: str) -> str:
    return ", ".join(f"{count} {where} {name}" for name, count in Counter(names).items())


def _limits_that_are_passed(made: Plan, limits: Limits) -> str:
    counts = Counter(site for _, site in made.beyond)
    parts = {site: beyond(site, limits) for site in counts}
    return ", ".join(f"{counts[site]} {part}" if len(parts) > 1 else part for site, part in parts.items())


def beyond(site: str, limits: Limits) -> str:
    """Which limit does not allow a node: that of a site, or the maximum."""
    return f"beyond the limit of {site}" if site else f"beyond the maximum of {limits.told}"


def _booked_beyond(why: Reckoning, limits: Limits) -> str:
    ends = "stays until its session ends" if why.booked_beyond == 1 else "stay until their sessions end"
    return f"{why.booked_beyond} {beyond('', limits)} {ends}"


def _awaiting(why: Reckoning) -> str:
    work = f"work that only {_any(why.awaiting)} may do waits"
    if not why.pinned:
        return f"{work} for the place of another node"
    where = _any(sorted({site for _, site in why.pinned}))
    if len(why.pinned) == 1:
        return f"{work}, as a pinned node at {where} takes the last place"
    return f"{work}, as {len(why.pinned)} pinned nodes at {where} take the last places"


def _any(sites: Sequence[str]) -> str:
    return " or ".join(sites)


def _is_short(made: Plan, limits: Limits) -> bool:
    """Whether the maximum keeps what is needed from being wanted."""
    return limits.enabled and made.reckoning.needed > limits.max_nodes >= made.want


def _why_not_more(made: Plan, limits: Limits) -> str:
    reckoning = made.reckoning
    if not limits.sites:
        return "no site is enabled and can be reached"
    if reckoning.places == 0 and limits.taken:
        return f"no place is left, as {limits.taken} of {limits.max_nodes} {_OUTSIDE}"
    if reckoning.places == 0:
        return "waiting for the places of nodes that leave"
    if all(site.room <= 0 for site in limits.sites) or _is_bound_to_full_sites(made, limits):
        return f"no site {'that may do the work ' if any(site.room > 0 for site in limits.sites) else ''}has room"
    if all(min(site.room, reckoning.places) < site.machines for site in limits.sites):
        least = min(site.machines for site in limits.sites if site.room > 0)
        return f"no room is left for a batch job, which makes {least} nodes at once"
    return _what_it_waits_for(made)


def _is_bound_to_full_sites(made: Plan, limits: Limits) -> bool:
    needs = made.reckoning.needs
    able = {site for need in needs for site in need.sites}
    full = all(site.room <= 0 for site in limits.sites if site.id in able)
    return bool(needs) and full and made.want <= sum(need.nodes for need in needs)


def _what_it_waits_for(made: Plan) -> str:
    settles_at = made.reckoning.settles_at
    if settles_at is None:
        return "launching if this lasts"
    until = f"{settles_at:%H:%M:%S %Z}"
    return (
        f"some were let go lately, so nothing is launched before {until} unless more than {few(made.have)} are wanted"
    )


def explanation(made: Plan, demand: Demand, limits: Limits) -> Iterator[str]:
    """How the plan came about, sentence by sentence."""
    reckoning = made.reckoning
    yield from _want(made, reckoning, demand, limits)
    yield from _up(made, reckoning, limits)
    yield from _down(made, reckoning, limits)
    for why, count in Counter(why for _, why in reckoning.compelled).items():
        yield f"{_nodes(count)} {'goes' if count == 1 else 'go'} {why}."
    if reckoning.blocked:
        until = f" until {reckoning.blocked_until:%H:%M:%S %Z}" if reckoning.blocked_until else ""
        yield f"Nothing is launched{until}, since {reckoning.blocked}."


def _want(made: Plan, reckoning: Reckoning, demand: Demand, limits: Limits) -> Iterator[str]:
    seconds = sum(work.seconds for work in reckoning.work)
    loads = sum(work.load_seconds for work in reckoning.work)
    if reckoning.work:
        drain = limits.drain_time.total_seconds()
        yield (
            f"The work is {seconds:.1f} node-seconds, {loads:.1f} of them loading; to be done in {drain:.0f} s, and at "
            f"each of its sites, it wants {_nodes(reckoning.for_work)}."
        )
    elif any(item.ranges for item in demand.work):
        yield "There is work, but none that nodes at its sites may do."
    else:
        yield "There is no work."
    parts = [f"{reckoning.for_work} for work", f"{demand.sessions} for sessions", f"{limits.standby} on standby"]
    most = f"between {limits.min_nodes} and {limits.max_nodes}"
    preloads = f", at least {demand.preloads} for models to be held" if demand.preloads else ""
    yield f"Wanted: {', '.join(parts)}{preloads}, {most}: {made.want}."
    if _is_short(made, limits):
        yield (
            f"That is less than the {reckoning.needed} that are needed, as the maximum is {limits.max_nodes}: "
            "some have to wait."
        )
    if limits.taken:
        yield f"{limits.taken} of its {limits.max_nodes} places {_OUTSIDE}."


def _up(made: Plan, reckoning: Reckoning, limits: Limits) -> Iterator[str]:
    if made.want <= made.have:
        if made.launch:
            yield "Those that exist are at work or elsewhere: people, and work bound to a site, get others at once."
        return
    if reckoning.within_tolerance:
        yield f"{made.have} exist, which is within {TOLERANCE:.0%} of that: nothing is launched."
    elif reckoning.settles_at is not None:
        yield (
            f"Nodes were let go lately: until {reckoning.settles_at:%H:%M:%S %Z} more than {few(made.have)} have to be "
            "wanted before work has any launched."
        )
    elif reckoning.since is not None:
        wait = UP_PERIODS * limits.period.total_seconds()
        yield (
            f"More is wanted than exists since {reckoning.since:%H:%M:%S %Z}; what lasts is launched within "
            f"{wait:.0f} s, at most {_nodes(reckoning.places)} more, "
            f"{', '.join(f'{max(site.room, 0)} at {site.id}' for site in limits.sites)}."
        )


def _down(made: Plan, reckoning: Reckoning, limits: Limits) -> Iterator[str]:
    if reckoning.awaiting and not made.beyond:
        yield f"W{_awaiting(reckoning)[1:]}."
    elif reckoning.misplaced:
        yield f"{reckoning.misplaced} of those that exist may do none of the work that waits, and do not count for it."
    if made.beyond:
        yield from _beyond(made, limits)
    if reckoning.booked_beyond:
        yield f"{_booked_beyond(reckoning, limits)}."
    if made.have > made.want:
        yield (
            f"At most {reckoning.peak} were wanted during the last {limits.window.total_seconds():.0f} s; beyond that, "
            f"nodes idle for {limits.idle_limit.total_seconds():.0f} s are let go, except for half as many as work "
            "wanted. These, and nodes with work now and then, go a few at a time once it has lasted as long."
        )
    if reckoning.stays_until and not made.leaving:
        yield f"The last one was in use for long, and stays until {reckoning.stays_until:%H:%M:%S %Z}."


def _beyond(made: Plan, limits: Limits) -> Iterator[str]:
    which = _limits_that_are_passed(made, limits)
    if len(made.beyond) == 1:
        yield f"1 node {which} finishes what it holds and leaves."
        return
    if len({site for _, site in made.beyond}) > 1:
        which = f"({which})"
    yield (
        f"{_nodes(len(made.beyond))} {which} finish what they hold and leave, idle ones first, then those whose models "
        "are missed least; pinned ones go last."
    )


def _nodes(number: int) -> str:
    return f"{number} node{'' if number == 1 else 's'}"
