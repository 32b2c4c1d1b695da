"""Work that requires something of a site: rendered only where it is offered, also when that changes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from rrm.errors import Invalid
from rrm.farm import beckoning, deliveries, jobs, scaling, snapshot, waiting, wakeups
from rrm.farm.models import Job, Lease, Node, Site
from tests.integration.farm.conftest import Farm


class Two:
    """A farm whose second site offers a GPU, with a node at each."""

    def __init__(self, farm: Farm) -> None:
        self.farm, self.plain, self.able = farm, farm.site, farm.add_site("there")
        farm.place(self.able, 1)
        offer(self.able, "avx512", "gpu")

    def nodes(self) -> tuple[Node, Node]:
        return self.farm.node(self.plain), self.farm.node(self.able)


@pytest.fixture
def two(farm: Farm) -> Two:
    return Two(farm)


def offer(site: Site, *tags: str) -> None:
    """As an operator who changes the site's capabilities."""
    site.capabilities = list(tags)
    site.save()
    wakeups.announce_work()


def reason(job: Job) -> str:
    return waiting.pending_reason(Job.objects.get(pk=job.pk))


def test_only_nodes_of_sites_that_offer_it_get_the_work(two: Two) -> None:
    job = two.farm.submit(requires=["gpu"])
    plain, able = two.nodes()

    assert two.farm.ask(plain)["lease"] is None
    assert two.farm.lease(able)["job"] == str(job.pk)


def test_all_of_the_tags_have_to_be_offered_and_no_part_of_one_will_do(two: Two) -> None:
    two.farm.submit(requires=["gpu", "avx512"])
    plain, able = two.nodes()
    offer(two.plain, "gpu-a100", "avx512", "a", "gp")

    assert two.farm.ask(plain)["lease"] is None
    assert two.farm.ask(able)["lease"] is not None


def test_twenty_tags_may_be_required_of_a_site_that_offers_twenty(two: Two) -> None:
    tags = sorted(f"tag{number}" for number in range(20))
    offer(two.able, *tags)
    two.farm.submit(requires=tags)
    plain, able = two.nodes()
    offer(two.plain, *tags[1:])

    assert two.farm.ask(plain)["lease"] is None
    assert two.farm.ask(able)["lease"] is not None


def test_other_work_goes_anywhere(two: Two) -> None:
    two.farm.submit(requires=["gpu"], priority="urgent")
    job = two.farm.submit()
    plain, _ = two.nodes()

    assert two.farm.lease(plain)["job"] == str(job.pk)


def test_work_follows_when_sites_change(two: Two) -> None:
    job = two.farm.submit(requires=["gpu"], width=512, height=512)
    plain, able = two.nodes()
    two.farm.deliver(able, two.farm.lease(able))
    offer(two.able, "avx512")

    assert two.farm.ask(able)["lease"] is None
    assert reason(job) == "No site of mandelbrot where a node may run offers gpu."
    offer(two.plain, "gpu")
    assert two.farm.ask(able)["lease"] is None
    assert two.farm.lease(plain)["job"] == str(job.pk)


def test_what_a_node_has_in_hand_is_finished_though_its_site_lost_the_tag(two: Two) -> None:
    two.farm.submit(requires=["gpu"])
    _, able = two.nodes()
    lease = two.farm.lease(able)
    offer(two.able)

    two.farm.deliver(able, lease)

    assert Lease.objects.get().state == "DONE"


def test_the_autoscaler_starts_nodes_only_where_the_work_can_be_done(two: Two) -> None:
    two.farm.submit(requires=["gpu"])
    assert scaling.plan(two.farm.resource, timezone.now()).launch == ("there",)

    offer(two.able)
    assert scaling.plan(two.farm.resource, timezone.now()).launch == ()

    offer(two.plain, "gpu")
    assert scaling.plan(two.farm.resource, timezone.now()).launch == ("here",)


def test_the_parts_of_a_split_job_wait_for_their_own_sites(two: Two) -> None:
    offer(two.plain, "gpu")
    job = two.farm.submit(requires=["gpu"], sites={"policy": "split", "ids": ["here", "there"]})
    plain, able = two.nodes()
    offer(two.able)

    assert two.farm.ask(able)["lease"] is None
    two.farm.work_off(plain, able)
    assert {node for (node,) in Lease.objects.values_list("node")} == {plain.pk}
    assert reason(job) == "there does not offer gpu."
    assert scaling.plan(two.farm.resource, timezone.now()).launch == ()


def test_a_job_that_names_sites_runs_at_those_that_still_offer_it(two: Two) -> None:
    offer(two.plain, "gpu")
    two.farm.submit(requires=["gpu"], sites={"policy": "only", "ids": ["here", "there"]})
    offer(two.plain)
    plain, able = two.nodes()

    assert two.farm.ask(plain)["lease"] is None
    assert two.farm.ask(able)["lease"] is not None


def test_an_idle_node_that_may_take_it_now_is_called(two: Two) -> None:
    two.farm.submit(requires=["gpu"])
    plain, able = two.nodes()
    assert beckoning.called(dict.fromkeys((plain.pk, able.pk)), timezone.now()) == {able.pk}

    offer(two.able)
    offer(two.plain, "gpu")
    assert beckoning.called(dict.fromkeys((plain.pk, able.pk)), timezone.now()) == {plain.pk}


def test_second_copies_are_made_only_where_it_is_offered(two: Two) -> None:
    farm = two.farm
    plain, able = two.nodes()
    quick = farm.node(two.able)
    farm.submit(width=32, height=32)
    farm.work_off(plain, able, quick)
    farm.submit(requires=["avx512", "gpu"], width=16, height=16)
    farm.lease(able)
    offer(two.plain, "gpu")
    Lease.objects.filter(state="ACTIVE").update(created_at=timezone.now() - timedelta(minutes=5))
    Lease.objects.filter(state="DONE").update(finished_at=timezone.now() - timedelta(minutes=10))
    wakeups.WORK.ring()

    assert farm.ask(plain)["lease"] is None
    assert Lease.objects.get(pk=farm.lease(quick)["id"]).is_copy


def test_a_tile_that_fails_wherever_it_may_be_rendered_fails_its_job(two: Two) -> None:
    job = two.farm.submit(requires=["gpu"], width=16, height=16)
    _, able = two.nodes()
    for _ in range(deliveries.MAX_FAILURES):
        lease = two.farm.lease(able)
        deliveries.fail(able, lease["id"], 0, "no memory")

    job.refresh_from_db()
    assert job.state == "FAILED"


def test_a_job_that_is_retried_keeps_its_requirements(two: Two) -> None:
    job = two.farm.submit(requires=["gpu"])
    jobs.cancel(job, "ada")
    jobs.retry(job, "ada")
    plain, able = two.nodes()

    assert two.farm.ask(plain)["lease"] is None
    assert two.farm.ask(able)["lease"] is not None


def test_why_nothing_runs_tells_who_waits_for_what(two: Two) -> None:
    two.farm.submit(requires=["avx512", "gpu"])
    two.farm.submit(requires=["gpu"], sites={"policy": "only", "ids": ["there"]})
    two.farm.submit()
    offer(two.able)
    (_, said) = snapshot.resource_states([two.farm.resource], timezone.now())["mandelbrot"]

    assert said == (
        "3 jobs wait: 2 for a site that can do what they require and 1 for a node to be started. "
        "Next in turn: No site of mandelbrot where a node may run offers avx512 and gpu."
    )


def test_a_site_without_room_is_not_said_to_lack_anything(two: Two) -> None:
    job = two.farm.submit(requires=["gpu"], sites={"policy": "only", "ids": ["there"]})
    Site.objects.filter(pk="there").update(enabled=False)

    assert reason(job).startswith("No node may run at there: it is disabled")


def test_an_order_that_no_site_can_carry_out_says_what_each_lacks(two: Two) -> None:
    with pytest.raises(Invalid) as refusal:
        two.farm.submit(requires=["mpi", "gpu"])

    assert refusal.value.errors == {
        "requires": [
            "No enabled site of the resource 'mandelbrot' offers gpu and mpi."
            " here lacks gpu and mpi; it offers nothing. there lacks mpi; it offers avx512 and gpu."
        ]
    }
    assert not Job.objects.exists()


def test_what_a_disabled_site_offers_does_not_count_for_an_order(two: Two) -> None:
    Site.objects.filter(pk="there").update(enabled=False)

    with pytest.raises(Invalid, match="here lacks gpu"):
        two.farm.submit(requires=["gpu"])
    Site.objects.update(enabled=False)
    with pytest.raises(Invalid, match=r"No enabled site of the resource 'mandelbrot' offers gpu\.$"):
        two.farm.submit(requires=["gpu"])


def test_each_site_that_an_order_names_has_to_offer_it(two: Two) -> None:
    for policy in ("only", "split"):
        with pytest.raises(Invalid) as refusal:
            two.farm.submit(requires=["gpu"], sites={"policy": policy, "ids": ["there", "here"]})
        assert refusal.value.errors == {"sites": ["here lacks gpu; it offers nothing."]}

    job = two.farm.submit(requires=["gpu"], sites={"policy": "only", "ids": ["there"]})
    assert (job.requires, job.site_ids) == (["gpu"], ["there"])
