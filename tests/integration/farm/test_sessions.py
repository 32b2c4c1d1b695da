"""What becomes of a session: used, extended, warned, ended, lost; and the way to its node."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from rrm.domain.states import NodeState
from rrm.errors import NotFound, StateConflict
from rrm.farm import booking, nodes, reports, sessions
from rrm.farm.booking import Wish
from rrm.farm.models import Loop, Node, Resource, ResourceSite, Session, Site
from tests.integration.farm.conftest import Farm
from tests.integration.farm.people import SOON, book, later, now_is, told


def test_use_renews_a_session_and_without_it_ends(farm: Farm) -> None:
    node = farm.node(answers=True)
    session = book(farm, idle=timedelta(seconds=100))
    soon = timezone.now() + timedelta(seconds=1)
    Session.objects.update(expires_at=soon)
    sessions.touch(session.pk)
    later(50)
    assert now_is(session)[0] == "READY"
    later(101)
    assert now_is(session) == ("ENDED", "Nobody used it for 100 s.")
    node.refresh_from_db()
    assert node.state == NodeState.IDLE
    sessions.touch(session.pk)
    assert now_is(session)[0] == "ENDED"


def test_after_the_manager_was_away_only_who_was_there_before_has_more_time(farm: Farm) -> None:
    for _ in range(2):
        farm.node(answers=True)
    before, since = (book(farm, idle=timedelta(seconds=20)) for _ in range(2))
    resumed = timezone.now() + timedelta(minutes=5)
    Loop.objects.update_or_create(name="sessions", defaults={"steady_since": resumed})
    Session.objects.filter(pk=since.pk).update(expires_at=resumed + timedelta(seconds=20))

    sessions.turn(resumed + timedelta(seconds=30))
    assert [now_is(session)[0] for session in (before, since)] == ["READY", "ENDED"]
    sessions.turn(resumed + timedelta(seconds=60))
    assert now_is(before) == ("ENDED", "Nobody used it for 20 s.")


def test_a_session_is_warned_of_its_hard_end_and_ends_then(farm: Farm) -> None:
    farm.node(answers=True)
    session = book(farm, idle=timedelta(hours=9))
    for minutes in (400, 471, 472, 479, 480.5):
        later(60 * minutes)
    assert told(session)[2:] == [
        "The session ends in 10 minutes at the latest.",
        "The session ends in 2 minutes at the latest.",
        "ENDED",
    ]
    assert now_is(session)[1] == "Its time is over."


def test_a_session_can_be_extended_as_far_as_its_node_lives(farm: Farm) -> None:
    node = farm.node(answers=True)
    Node.objects.filter(pk=node.pk).update(ends_at=timezone.now() + timedelta(hours=1))
    session = sessions.find(book(farm).pk, None)
    assert session.hard_expires_at is not None
    assert session.hard_expires_at < timezone.now() + timedelta(hours=1)
    with pytest.raises(StateConflict, match="cannot be longer"):
        sessions.extend(session, timedelta(hours=1), "ada")
    Node.objects.filter(pk=node.pk).update(ends_at=None)
    session = sessions.find(session.pk, None)
    sessions.extend(session, timedelta(hours=1), "ada")
    session.refresh_from_db()
    assert session.hard_expires_at is not None
    assert session.hard_expires_at > timezone.now() + timedelta(hours=1, minutes=50)


def test_a_node_that_is_lost_takes_its_session_with_it_and_says_why(farm: Farm) -> None:
    node = farm.node(answers=True)
    session = book(farm)
    node.refresh_from_db()
    nodes.gone(node, NodeState.FAILED, "The machine lost power.")
    later(0)
    assert now_is(session) == ("FAILED", "Its node is FAILED: The machine lost power.")


def test_ending_it_frees_the_node_for_jobs_and_twice_is_refused(farm: Farm) -> None:
    node = farm.node(answers=True)
    session = book(farm)
    farm.submit()
    sessions.end(session, "ada")
    node.refresh_from_db()
    assert farm.ask(node)["lease"] is not None
    with pytest.raises(StateConflict):
        sessions.end(session, "ada")


def test_a_program_that_keeps_its_users_data_is_stopped_after_each(farm: Farm) -> None:
    program = Resource.objects.create(id="viewer", renderer="external", command_line="viewer", max_nodes=1)
    ResourceSite.objects.create(resource=program, site=farm.site)
    node = nodes.request_node(program, farm.site, "test")
    report = {"node": node.name, "hostname": "h", "version": "1", "cores": 1, "address": "127.0.0.1:5000"}
    reports.register(nodes.launch_token(node.name), report)
    session = booking.book(farm.owner, Wish(program), timezone.now())
    assert sessions.way_to(session.pk, farm.owner).key == ""
    sessions.end(session, "ada")
    node.refresh_from_db()
    assert node.state == NodeState.STOPPING


def test_the_way_leads_to_the_node_for_its_owner_alone(farm: Farm) -> None:
    node = farm.node(answers=True)
    session = book(farm)
    way = sessions.way_to(session.pk, farm.owner)
    assert (way.host, way.port, way.target) == ("127.0.0.1", 5000, None)
    assert way.key == nodes.session_key(node.name) != nodes.launch_token(node.name)
    assert sessions.way_to(session.pk, None) == way
    with pytest.raises(NotFound):
        sessions.way_to(session.pk, User.objects.create_user("eve"))
    sessions.end(session, "ada")
    with pytest.raises(StateConflict, match="is ENDED"):
        sessions.way_to(session.pk, farm.owner)


def test_a_loopback_address_of_another_host_is_reached_at_that_host(farm: Farm) -> None:
    node = farm.node(answers=True)
    session = book(farm)
    for kind, reached, address, through in (
        ("ssh", "direct", "127.0.0.1:5000", True),
        ("ssh", "direct", "[::1]:5000", True),
        ("ssh", "tunnel", "n1:5000", True),
        ("ssh", "direct", "n1:5000", False),
        ("slurm", "tunnel", "n1:5000", True),
        ("local", "tunnel", "127.0.0.1:5000", False),
    ):
        Site.objects.filter(pk=farm.site.pk).update(kind=kind, connection=reached, host="h", username="u")
        Node.objects.filter(pk=node.pk).update(address=address)
        way = sessions.way_to(session.pk, farm.owner)
        assert (way.target is not None and way.target.host == "h") == through, (kind, reached, address)


def test_one_session_that_cannot_be_looked_after_keeps_no_other_from_it(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.node(answers=True)
    broken, other = book(farm), book(farm, SOON)
    end = sessions.end

    def breaking(session: Session, *reason: str) -> None:
        if session.pk == broken.pk:
            raise RuntimeError("no")
        end(session, *reason)

    monkeypatch.setattr(sessions, "end", breaking)
    later(3600)
    assert (now_is(broken)[0], now_is(other)[0]) == ("READY", "FAILED")


def test_a_node_that_nobody_has_booked_is_free_again(farm: Farm) -> None:
    node, served = farm.node(answers=True), farm.node(answers=True)
    book(farm)
    book(farm)
    Session.objects.filter(node=node).update(state="ENDED", finished_at=timezone.now())

    later(1)

    node.refresh_from_db()
    served.refresh_from_db()
    assert (node.state, served.state) == (NodeState.IDLE, NodeState.BOOKED)


def test_more_sessions_take_no_more_queries_to_look_after(
    farm: Farm, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    counted = []
    for _ in range(3):
        farm.node(answers=True)
        book(farm)
        with django_assert_max_num_queries(20) as asked:
            later(1)
        counted.append(len(asked.captured_queries))

    assert counted == [counted[0]] * 3


def test_a_booked_node_that_is_drained_leaves_when_its_user_does(farm: Farm) -> None:
    node = farm.node(answers=True)
    session = book(farm)
    node.refresh_from_db()
    nodes.drain(node, "olga")
    later(0)
    node.refresh_from_db()
    assert (now_is(session)[0], node.state) == ("READY", "BOOKED")
    assert node.reason == "Leaves when its session ends: drained by olga"
    sessions.end(session, "ada")
    node.refresh_from_db()
    assert node.state == NodeState.STOPPING
