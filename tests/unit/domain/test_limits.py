"""Which limit allows no further node."""

from __future__ import annotations

import pytest

from rrm.domain.limits import of_resource, of_sites


@pytest.mark.parametrize(
    ("nodes", "most", "machines", "said"),
    [
        (0, 0, 1, "it may have no node, as its max_nodes is 0"),
        (1, 1, 1, "the only node of it is taken, and its max_nodes (1) allows no more"),
        (2, 2, 1, "both nodes of it are taken, and its max_nodes (2) allows no more"),
        (5, 3, 1, "all 5 nodes of it are taken, and its max_nodes (3) allows no more"),
        (0, 1, 1, "the 1 node that it may have (max_nodes) is promised to somebody else"),
        (2, 3, 1, "the 3 nodes that it may have (max_nodes) are taken or promised to others"),
        (2, 5, 4, "it has 2 of at most 5 nodes (max_nodes), and a batch job of it makes 4"),
        (0, 2, 2, "the 2 nodes that it may have (max_nodes) are taken or promised to others"),
        (4, 4, 4, "all 4 nodes of it are taken, and its max_nodes (4) allows no more"),
    ],
)
def test_the_maximum_of_a_resource_is_told_with_what_it_has(nodes: int, most: int, machines: int, said: str) -> None:
    assert of_resource("it", nodes, most, machines) == said


def test_sites_that_are_full_are_told_with_their_limits() -> None:
    assert of_sites({"here": 2}) == "site here has no place left, as its max_nodes is 2"
    assert of_sites({"a": 2, "b": 0}) == "sites a and b have no place left, as their max_nodes are 2 and 0"
    assert of_sites({"a": 2, "b": 2}, 4) == (
        "sites a and b have no place left for a batch job of 4 nodes, as their max_nodes are 2 and 2"
    )
