"""What somebody is told whose job waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rrm.domain.reasons import Waiting, why, why_many

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HERE = frozenset({"here"})


def soon(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"enabled": False}, "The resource r is disabled."),
        ({"sites": frozenset()}, "No node may run at r: every site of it is disabled or has room for none."),
        (
            {"sites": frozenset(), "bound_to": frozenset({"there", "away"})},
            "No node may run at away, there: it is disabled, has room for none, or no longer belongs to r.",
        ),
        ({"sites": frozenset(), "unmet": ["gpu"]}, "No site of r where a node may run offers gpu."),
        (
            {"sites": frozenset(), "unmet": ["gpu", "mpi"], "bound_to": frozenset({"there", "away"})},
            "away and there do not offer gpu and mpi.",
        ),
        ({}, "No node of r is running there; one will be started."),
        ({"most": 0}, "No node of r is running there; r may have none at present."),
        (
            {"most": 2},
            "No node of r is running there; r may have 2 nodes, which it has elsewhere: it waits for one to leave.",
        ),
        (
            {"most": 2, "pinned": ["a at lab"]},
            "No node of r is running there; r may have 2 nodes, which it has elsewhere; a at lab, idle and pinned to a "
            "model, takes the last place.",
        ),
        (
            {"most": 2, "pinned": ["a at lab", "b at lab"]},
            "No node of r is running there; r may have 2 nodes, which it has elsewhere; a at lab and b at lab, idle and"
            " pinned to a model, take the last places.",
        ),
        ({"crowded": True}, "No node of r is running there; here can take no more nodes: it waits for a place."),
        ({"starting": 2}, "2 nodes of r are starting."),
        ({"launching": "No module named numpy"}, "No module named numpy"),
        (
            {"failures": 1, "retry_at": soon(-2), "launching": "It exited with status 1."},
            "No node of r runs: the last start failed; the next is about to be tried. It exited with status 1.",
        ),
        (
            {"failures": 3, "retry_at": soon(90), "launching": "It exited with status 1."},
            "No node of r runs: 3 starts in a row failed; the next is tried in 90 s. It exited with status 1.",
        ),
        ({"problems": {"here": "No route to host."}}, "here cannot be used at present: No route to host."),
        (
            {"blocked": ["node7 at here is blocked: it failed"]},
            "No node of r is running there; one will be started. node7 at here is blocked: it failed.",
        ),
        (
            {"working": 4, "nodes_at_limit": (2, 2)},
            "2 nodes of at most 2 are at work for its owner: it waits for one of them.",
        ),
        ({"nodes_at_limit": (0, 0)}, "Its owner may have no node at present; an operator sets the quota."),
        (
            {"working": 4, "free": 1, "quarantined_until": soon(600), "could_not_load": ["n1", "n2"]},
            "Nodes could not load its model (n1, n2); it is tried again in 10 min.",
        ),
        (
            {"working": 4, "free": 1, "holders": 1, "quarantined_until": soon(600), "could_not_load": ["n1"]},
            "Nodes could not load its model (n1); it waits for one that holds it.",
        ),
        (
            {"working": 4, "free": 1, "holders": 1, "free_holders": 1, "quarantined_until": soon(600)},
            "A node of r that holds its model is free and takes it up next.",
        ),
        ({"working": 4, "free": 1}, "A node of r is free and takes it up next."),
        (
            {"working": 4, "free": 1, "holders": 2, "holder_seconds": 12, "load_seconds": 60},
            "It waits for a node that holds its model, free in about 12 s: sooner than another could load it (60 s).",
        ),
        (
            {"working": 4, "full": ["away", "here"]},
            "It waits for its turn to load its model at away and here: as many as may be are loaded there now.",
        ),
        ({"working": 4, "free": 1, "full": ["away"]}, "A node of r is free and takes it up next."),
        (
            {"working": 4, "full": ["here"], "holders": 1, "holder_seconds": 12, "load_seconds": 60},
            "It waits for a node that holds its model, free in about 12 s: sooner than another could load it (60 s).",
        ),
        ({"working": 1, "ending": 1}, "The only node of r that may take it is too near its end; it is next."),
        ({"working": 2, "ending": 2}, "All 2 nodes of r that may take it are too near their end; it is next."),
        (
            {"working": 3, "booked": 1, "ending": 2},
            "All 3 nodes of r that may take it are busy, 1 of them booked for a session and 2 of them too near their "
            "end; it is next.",
        ),
        ({"working": 1}, "The only node of r that may take it is busy; it is next."),
        (
            {"working": 3, "ahead": (2, 1)},
            "All 3 nodes of r that may take it are busy; "
            "it is behind 2 jobs of higher priority and 1 job whose turn comes first.",
        ),
        (
            {"working": 1, "ahead": (0, 5), "deadline": soon(-7200)},
            "The only node of r that may take it is busy; it is behind 5 jobs whose turn comes first. "
            "It is late: its deadline was 2 h ago.",
        ),
        ({"working": 1, "most": 0}, "The only node of r that may take it is busy; it is next. r may have no node."),
        (
            {"working": 1, "booked": 1, "most": 1},
            "The only node of r that may take it is booked for a session; it is next. r may have 1 node at most.",
        ),
        (
            {"working": 3, "booked": 2},
            "All 3 nodes of r that may take it are busy, 2 of them booked for sessions; it is next.",
        ),
        (
            {"launching": "No such library: libGPU.so.7", "deadline": soon(-7200)},
            "No such library: libGPU.so.7. It is late: its deadline was 2 h ago.",
        ),
        (
            {"launching": "No such library: libGPU.so.7", "blocked": ["m1 is blocked: it failed"]},
            "No such library: libGPU.so.7. m1 is blocked: it failed.",
        ),
        (
            {"failures": 1, "retry_at": soon(90)},
            "No node of r runs: the last start failed; the next is tried in 90 s.",
        ),
        ({"working": 1, "deadline": soon(1)}, "The only node of r that may take it is busy; it is next."),
    ],
)
def test_the_owner_of_a_job_is_told_what_it_waits_for(facts: dict[str, Any], sentence: str) -> None:
    assert why(Waiting(**{"resource": "r", "now": NOW, "sites": HERE, **facts})) == sentence


def case(**facts: Any) -> Waiting:
    return Waiting(**{"resource": "r", "now": NOW, "sites": HERE, **facts})


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"enabled": False}, "a resource that is disabled"),
        ({"sites": frozenset()}, "a site where a node may run"),
        ({"nodes_at_limit": (1, 1)}, "a node that a quota allows"),
        ({"working": 1, "quarantined_until": soon(600)}, "a model that nodes could not load"),
        ({"problems": {"here": "No route."}}, "a site that cannot be used at present"),
        ({"starting": 1}, "a node that is starting"),
        ({}, "a node to be started"),
        (
            {"working": 2, "free": 1, "holders": 1, "holder_seconds": 1, "load_seconds": 9},
            "a node that holds the model",
        ),
        ({"working": 2, "full": ["here"]}, "a turn to load the model"),
        ({"working": 2, "free": 1}, "a free node to take it up"),
        ({"working": 2}, "a node that is busy"),
    ],
)
def test_many_jobs_are_counted_by_what_they_wait_for(facts: dict[str, Any], what: str) -> None:
    other = case(starting=3) if what != "a node that is starting" else case(enabled=False)
    assert f" 2 for {what}" in why_many([case(**facts), case(**facts), other], 3)


def test_jobs_that_all_wait_for_the_same_are_told_what_the_first_is_told() -> None:
    assert why_many([case(), case()], 2) == "2 jobs wait. No node of r is running there; one will be started."
    assert why_many([case()], 1) == "1 job waits. No node of r is running there; one will be started."
    assert why_many([case()], 500).startswith("500 jobs wait. No node")


def test_where_only_the_first_were_looked_at_it_says_so() -> None:
    assert why_many([case(), case(starting=1), case(starting=1)], 500) == (
        "500 jobs wait: of the first 3, 2 for a node that is starting and 1 for a node to be started. "
        "Next in turn: No node of r is running there; one will be started."
    )
