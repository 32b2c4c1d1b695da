"""Jobs and nodes of any kind, for tests of what scheduling promises whatever comes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from rrm.domain.facts import JobFacts, NodeFacts
from rrm.domain.orders import PRIORITIES

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
NAMES = st.sampled_from("abcd")
"""Of models, owners and sites."""
RESOURCES = st.sampled_from(["mandelbrot", "other"])


def ago(most: float) -> SearchStrategy[datetime]:
    """Instants up to so many seconds before NOW."""
    return st.floats(0, most).map(lambda age: NOW - timedelta(seconds=age))


JOB: Mapping[str, SearchStrategy[Any]] = {
    "id": st.uuids().map(str),
    "resource": RESOURCES,
    "model": NAMES,
    "owner": NAMES,
    "priority": st.sampled_from(PRIORITIES),
    "created_at": ago(1000),
    "remaining_seconds": st.floats(0, 1000),
    "load_seconds": st.floats(0, 100),
    "sites": st.none() | st.frozensets(NAMES),
}
"""The facts that every job has, and its sites."""
NODE: Mapping[str, SearchStrategy[Any]] = {
    "resource": RESOURCES,
    "site": NAMES,
    "held": st.frozensets(NAMES),
    "streak": st.integers(0, 40),
}
"""Facts of a node, without its id."""


def may_run(node: NodeFacts, job: JobFacts) -> bool:
    """Whether the job is one for this node at all, whatever else either has to do."""
    is_at_site = job.sites is None or node.site in job.sites
    return job.resource == node.resource and is_at_site and node.id not in job.refused
