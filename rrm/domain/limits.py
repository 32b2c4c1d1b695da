"""Which limit allows no further node, in words for whoever lacks one."""

from __future__ import annotations

from collections.abc import Mapping

from rrm.domain.capabilities import listed

WAY_OUT = "an operator can raise max_nodes"


def of_resource(resource: str, nodes: int, most: int, machines: int = 1) -> str:
    """It has so many nodes of at most so many; each launch of it gives `machines`."""
    if not most:
        return f"{resource} may have no node, as its max_nodes is 0"
    if machines > 1 and nodes < most < nodes + machines:
        return f"{resource} has {nodes} of at most {most} nodes (max_nodes), and a batch job of it makes {machines}"
    if nodes < most:
        promised = "is promised to somebody else" if most == 1 else "are taken or promised to others"
        return f"the {_nodes(most)} that {resource} may have (max_nodes) {promised}"
    all_of = {1: "the only node", 2: "both nodes"}.get(nodes, f"all {nodes} nodes")
    return f"{all_of} of {resource} {'is' if nodes == 1 else 'are'} taken, and its max_nodes ({most}) allows no more"


def of_sites(limits: Mapping[str, int], machines: int = 1) -> str:
    """These sites are full, which may have so many nodes each; each launch there gives `machines` at least."""
    what = f" for a batch job of {machines} nodes" if machines > 1 else ""
    name, most = next(iter(limits)), listed([str(limit) for limit in limits.values()])
    if len(limits) == 1:
        return f"site {name} has no place left{what}, as its max_nodes is {most}"
    return f"sites {listed(list(limits))} have no place left{what}, as their max_nodes are {most}"


def _nodes(number: int) -> str:
    return f"{number} node{'' if number == 1 else 's'}"
