"""Why a job has no node at this moment, in a sentence for whoever waits for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rrm.domain.capabilities import listed


@dataclass(frozen=True, slots=True)
class Waiting:
    """What stands between a job with tiles to give out and a node. `sites` are those that may run it now."""

    resource: str
    now: datetime
    enabled: bool = True
    bound_to: frozenset[str] = frozenset()
    """The sites that its tiles must be rendered at; empty: any."""
    sites: frozenset[str] = frozenset()
    unmet: Sequence[str] = ()
    """What it requires, where none of the sites that could run nodes for it has all of that."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Of sites that cannot be used at present."""
    crowded: bool = False
    """None of the sites that can be used has room for one more node."""
    starting: int = 0
    working: int = 0
    free: int = 0
    """Of those at work, how many are idle and may begin it at once."""
    booked: int = 0
    """Of those at work, how many are booked for sessions."""
    ending: int = 0
    """Of those at work, how many are idle and end too soon for it."""
    silent: int = 0
    """Of those at work, how many are idle, as it seems, and were not heard lately."""
    full: Sequence[str] = ()
    """Sites where idle nodes may not load its model yet, as others load there."""
    most: int | None = None
    """How many nodes the resource may have, if it has as many."""
    pinned: Sequence[str] = ()
    """Nodes elsewhere that do nothing and stay, since they hold a pinned model."""
    holders: int = 0
    free_holders: int = 0
    holder_seconds: float = 0.0
    """What the holders of its model still have to do before one of them is free."""
    load_seconds: float = 0.0
    quarantined_until: datetime | None = None
    could_not_load: Sequence[str] = ()
    """Names of the nodes that could not load the model."""
    nodes_at_limit: tuple[int, int] | None = None
    """The owner's nodes at work, and how many may be; None when there may be more."""
    ahead: tuple[int, int] = (0, 0)
    """Jobs of a more urgent class, and those of its own class whose turn comes first."""
    blocked: Sequence[str] = ()
    """What is blocked at these sites, each with its reason."""
    failures: int = 0
    """Starts in a row that failed."""
    retry_at: datetime | None = None
    launching: str = ""
    """What the resource says about its starts."""
    deadline: datetime | None = None


def why(waiting: Waiting) -> str:
    """The first reason that applies, and whether the job is late."""
    said = _applying(waiting)[1]
    late = how_late(waiting.deadline, waiting.now)
    return f"{_sentence(said)} {late}" if late else said


def _sentence(text: str) -> str:
    """What others said, so that something may follow it."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def why_many(first: Sequence[Waiting], total: int) -> str:
    """How many of `total` jobs wait for what, told of the first in turn, and why the very first does."""
    said = "1 job waits" if total == 1 else f"{total} jobs wait"
    counted = Counter(_WAITS_FOR[_applying(case)[0]](case) for case in first).most_common()
    if len(counted) == 1:
        return f"{said}. {why(first[0])}"
    *parts, last = [f"{jobs} for {what}" for what, jobs in counted]
    among = f" of the first {len(first)}," if len(first) < total else ""
    return f"{said}:{among} {', '.join(parts)} and {last}. Next in turn: {why(first[0])}"


def _applying(waiting: Waiting) -> tuple[_Rule, str]:
    """The first rule that applies, and what it says."""
    return next((rule, said) for rule in _RULES if (said := rule(waiting)))


def how_late(deadline: datetime | None, now: datetime) -> str:
    """Empty while it is not."""
    if deadline is None or now <= deadline:
        return ""
    return f"It is late: its deadline was {_span(now - deadline)} ago."


def _disabled(case: Waiting) -> str:
    return "" if case.enabled else f"The resource {case.resource} is disabled."


def _unmet(case: Waiting) -> str:
    if not case.unmet:
        return ""
    tags = listed(case.unmet)
    if not case.bound_to:
        return f"No site of {case.resource} where a node may run offers {tags}."
    where = sorted(case.bound_to)
    return f"{listed(where)} {'does' if len(where) == 1 else 'do'} not offer {tags}."


def _no_site(case: Waiting) -> str:
    if case.sites:
        return ""
    name = case.resource
    if not case.bound_to:
        return f"No node may run at {name}: every site of it is disabled or has room for none."
    where = ", ".join(sorted(case.bound_to))
    return f"No node may run at {where}: it is disabled, has room for none, or no longer belongs to {name}."


def _at_limit(case: Waiting) -> str:
    if case.nodes_at_limit is None:
        return ""
    used, most = case.nodes_at_limit
    if not most:
        return "Its owner may have no node at present; an operator sets the quota."
    if used == 1:
        return "1 node is at work for its owner, who may have no more: it waits for that one."
    return f"{_nodes(used)} of at most {most} are at work for its owner: it waits for one of them."


def _quarantined(case: Waiting) -> str:
    if case.quarantined_until is None or case.quarantined_until <= case.now or case.free_holders:
        return ""
    names = f" ({', '.join(case.could_not_load)})" if case.could_not_load else ""
    if case.holders:
        return f"Nodes could not load its model{names}; it waits for one that holds it."
    return f"Nodes could not load its model{names}; it is tried again in {_span(case.quarantined_until - case.now)}."


def _no_node(case: Waiting) -> str:
    if case.working:
        return ""
    problems = [f"{site} cannot be used at present: {case.problems[site]}" for site in sorted(case.problems)]
    if problems and case.sites <= case.problems.keys():
        return " ".join(problems)
    if case.starting:
        return f"{_nodes(case.starting)} of {case.resource} {_be(case.starting)} starting."
    return " ".join(map(_sentence, [_start(case), *case.blocked])) if case.blocked else _start(case)


def _start(case: Waiting) -> str:
    waits = case.retry_at is not None and case.retry_at > case.now
    if case.retry_at is None or not (waits or case.failures):
        return case.launching or f"No node of {case.resource} is running there; {_outlook(case)}."
    times = "the last start failed; " if case.failures == 1 else f"{case.failures} starts in a row failed; "
    due = f"is tried in {_span(case.retry_at - case.now)}" if waits else "is about to be tried"
    told = f" {case.launching}" if case.launching else ""
    return f"No node of {case.resource} runs: {times if case.failures else ''}the next {due}.{told}"


def _outlook(case: Waiting) -> str:
    """Whether one can be started, by the limits."""
    if case.most == 0:
        return f"{case.resource} may have none at present"
    if case.most is not None:
        told = f"{case.resource} may have {_nodes(case.most)}, which it has elsewhere"
        if not case.pinned:
            return f"{told}: it waits for one to leave"
        last = "the last place" if len(case.pinned) == 1 else "the last places"
        takes = "takes" if len(case.pinned) == 1 else "take"
        return f"{told}; {listed(case.pinned)}, idle and pinned to a model, {takes} {last}"
    if case.crowded:
        return f"{listed(sorted(case.sites - case.problems.keys()))} can take no more nodes: it waits for a place"
    return "one will be started"


def _for_holder(case: Waiting) -> str:
    if case.free_holders or not (case.free or case.full):
        return ""
    if not case.holders or case.holder_seconds >= case.load_seconds:
        return ""
    return (
        f"It waits for a node that holds its model, free in about {case.holder_seconds:.0f} s: "
        f"sooner than another could load it ({case.load_seconds:.0f} s)."
    )


def _to_load(case: Waiting) -> str:
    if case.free or not case.full:
        return ""
    return f"It waits for its turn to load its model at {listed(case.full)}: as many as may be are loaded there now."


def _free(case: Waiting) -> str:
    if not case.free:
        return ""
    which = "that holds its model is" if case.free_holders else "is"
    return f"A node of {case.resource} {which} free and takes it up next."


def _busy(case: Waiting) -> str:
    all_of = "The only node" if case.working == 1 else f"All {case.working} nodes"
    which = ("of higher priority", "whose turn comes first")
    behind = " and ".join(f"{_jobs(count)} {what}" for count, what in zip(case.ahead, which, strict=True) if count)
    place = f"it is behind {behind}" if behind else "it is next"
    said = f"{all_of} of {case.resource} that may take it {_be(case.working)} {_what_keeps(case)}; {place}."
    if case.most is None:
        return said
    return f"{said} {case.resource} may have {f'{_nodes(case.most)} at most' if case.most else 'no node'}."


def _what_keeps(case: Waiting) -> str:
    """What nodes that are not free do."""
    booked = "booked for a session" if case.booked == 1 else "booked for sessions"
    ending = "too near its end" if case.ending == 1 else "too near their end"
    counted = ((booked, case.booked), (ending, case.ending), ("not answering", case.silent))
    kept = {what: nodes for what, nodes in counted if nodes}
    if case.working in kept.values():
        return next(iter(kept))
    told = " and ".join(f"{nodes} of them {what}" for what, nodes in kept.items())
    return f"busy, {told}" if told else "busy"


def _which_node(case: Waiting) -> str:
    if case.problems and case.sites <= case.problems.keys():
        return "a site that cannot be used at present"
    return "a node that is starting" if case.starting else "a node to be started"


_Rule = Callable[[Waiting], str]
_WAITS_FOR: Mapping[_Rule, _Rule] = {
    _disabled: lambda _: "a resource that is disabled",
    _unmet: lambda _: "a site that can do what they require",
    _no_site: lambda _: "a site where a node may run",
    _at_limit: lambda _: "a node that a quota allows",
    _quarantined: lambda _: "a model that nodes could not load",
    _no_node: _which_node,
    _for_holder: lambda _: "a node that holds the model",
    _to_load: lambda _: "a turn to load the model",
    _free: lambda _: "a free node to take it up",
    _busy: lambda _: "a node that is busy",
}
_RULES = tuple(_WAITS_FOR)


def _nodes(number: int) -> str:
    return f"{number} node{'' if number == 1 else 's'}"


def _jobs(number: int) -> str:
    return f"{number} job{'' if number == 1 else 's'}"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _span(span: timedelta) -> str:
    seconds = max(0.0, span.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
