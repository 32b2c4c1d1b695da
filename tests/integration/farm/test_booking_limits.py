"""What nobody is promised: places that another was promised, nodes that end soon, more nodes than there may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from rrm.domain.states import SessionState
from rrm.errors import NoCapacity, StateConflict
from rrm.farm import booking, nodes
from rrm.farm.booking import Wish
from rrm.farm.models import Node, Resource, Session, Site
from tests.integration.farm.conftest import Farm
from tests.integration.farm.people import SOON, book, later, now_is
from tests.integration.farm.threads import in_threads


def test_of_those_who_book_at_one_moment_each_counts_on_a_place_of_its_own(shared_farm: Farm) -> None:
    Resource.objects.update(max_nodes=2)
    shared_farm.resource.refresh_from_db()

    def books(user: User) -> Callable[[], object]:
        return lambda: booking.book(user, Wish(shared_farm.resource, max_wait=SOON), timezone.now()).state

    outcomes = in_threads(*(books(User.objects.create_user(f"user{number}")) for number in range(6)))

    assert Counter(map(type, outcomes)) == {SessionState: 2, NoCapacity: 4}
    assert Counter(Session.objects.values_list("state", flat=True)) == {"PENDING": 2}


def test_a_node_that_ends_soon_is_given_to_nobody_who_waits(farm: Farm) -> None:
    node = farm.node(answers=True)
    Node.objects.update(ends_at=timezone.now() + timedelta(seconds=20))
    node.refresh_from_db()
    session = book(farm, SOON)
    job = farm.submit()

    assert farm.lease(node)["job"] == str(job.pk)
    later(0)

    assert now_is(session)[0] == "PENDING"


@pytest.fixture
def cluster(farm: Farm) -> Site:
    """A second site of the resource, where each launch is a batch job of three machines."""
    site = Site.objects.create(id="cluster", kind="slurm", host="h", max_nodes=10)
    farm.place(site, 1)
    Resource.objects.update(nb_nodes=3)
    return site


def test_a_batch_job_that_exceeds_the_maximum_is_not_requested_as_another_site_is_full(
    farm: Farm, cluster: Site
) -> None:
    Site.objects.filter(pk="here").update(max_nodes=1)
    Resource.objects.update(max_nodes=2)
    farm.resource.refresh_from_db()

    assert nodes.request_node(farm.resource, None, "ada").site == farm.site
    with pytest.raises(StateConflict, match=r"no room for another node at here \(1 at most\)"):
        nodes.request_node(farm.resource, None, "ada")

    assert Node.objects.count() == 1


def test_where_a_batch_job_exceeds_the_maximum_a_single_node_of_another_site_is_requested(
    farm: Farm, cluster: Site
) -> None:
    farm.resource.placements.filter(site=cluster).update(position=0)
    farm.resource.placements.filter(site=farm.site).update(position=1)
    Resource.objects.update(max_nodes=2)
    farm.resource.refresh_from_db()

    assert nodes.request_node(farm.resource, None, "ada").site == farm.site
    Node.objects.all().delete()
    with pytest.raises(StateConflict, match="has 0 of at most 2 nodes, and a batch job of it makes 3"):
        nodes.request_node(farm.resource, cluster, "ada")
