"""Finding a renderer for somebody who is there, at once or later, and refusing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from rrm.domain.states import NodeState, SessionState
from rrm.errors import NoCapacity, StateConflict, Suspended, TooMany
from rrm.farm import booking, nodes, reports, scaling, sessions, transitions, wakeups
from rrm.farm.booking import Wish
from rrm.farm.models import Event, HeldModel, Lease, Node, RenderModel, Resource, Session, Site
from tests.integration.farm.conftest import Farm
from tests.integration.farm.people import SOON, book, later, now_is, told
from tests.integration.farm.threads import in_threads


def test_an_idle_node_is_booked_at_once_and_gets_no_leases_from_then_on(farm: Farm) -> None:
    node = farm.node(answers=True)
    farm.submit()
    session = book(farm)
    node.refresh_from_db()
    assert (session.state, session.node, session.warm, node.state) == ("READY", node, False, "BOOKED")
    answer = farm.ask(node)
    assert (answer["lease"], answer["command"], answer["session"]["id"]) == (None, "run", str(session.pk))
    assert told(session) == ["PENDING", "READY"]


def test_a_node_that_holds_the_model_is_booked_before_others(farm: Farm) -> None:
    model = RenderModel.objects.create(params={"a": 1}, digest="0" * 64)
    farm.node(answers=True)
    warm = farm.node(answers=True)
    farm.node(answers=True)
    HeldModel.objects.create(node=warm, model=model)
    session = book(farm, model=model)
    assert (session.node, session.warm) == (warm, True)
    warm.refresh_from_db()
    assert farm.ask(warm)["session"] == {"id": str(session.pk), "params": {"a": 1}}


def test_where_nothing_is_free_the_answer_comes_at_once_and_nothing_is_left_behind(farm: Farm) -> None:
    Resource.objects.update(max_nodes=1)
    farm.resource.refresh_from_db()
    farm.node(answers=True)
    other = book(farm)
    before = Event.objects.count()
    with pytest.raises(
        NoCapacity, match="No renderer is free, and the only node of mandelbrot is taken, and its max_nodes"
    ) as refused:
        book(farm, SOON)
    assert refused.value.members["position"] == 1
    assert 290 <= float(str(refused.value.members["eta_seconds"])) <= 300
    assert 200 <= (refused.value.retry_after or 0) <= 300
    assert list(Session.objects.all()) == [other]
    assert (Node.objects.count(), Event.objects.count()) == (1, before)


def test_a_session_waits_only_for_what_comes_in_time(farm: Farm) -> None:
    with pytest.raises(NoCapacity, match="in about 5 s, and you would not wait"):
        book(farm)
    session = book(farm, SOON)
    assert now_is(session) == ("PENDING", "Waits for a node to be started at here.")
    node = farm.node(answers=True)
    later(0)
    assert now_is(session)[0] == "READY"
    assert session.node == node


def test_a_node_that_is_leaving_makes_place_for_who_waits(farm: Farm) -> None:
    node = farm.node()
    Resource.objects.update(max_nodes=1, start_seconds=4)
    farm.resource.refresh_from_db()
    nodes.stop(node, "ada")

    with pytest.raises(NoCapacity) as caught:
        book(farm)
    session = book(farm, SOON)

    when = "a node to be started at here when one that is leaving has left"
    assert caught.value.members["eta_seconds"] == 6.0
    assert now_is(session) == ("PENDING", f"Waits for {when}.")


def test_the_place_of_a_node_that_is_leaving_is_for_one_person(farm: Farm) -> None:
    stays, leaving = farm.node(answers=True), farm.node()
    Resource.objects.update(max_nodes=2)
    farm.resource.refresh_from_db()
    assert book(farm).node == stays
    nodes.stop(leaving, "ada")

    book(farm, SOON)
    with pytest.raises(NoCapacity, match=r"both nodes of mandelbrot are taken, and its max_nodes \(2\) allows no more"):
        book(farm, SOON)


def test_what_a_node_has_rendered_for_long_is_taken_to_need_as_long_again(farm: Farm) -> None:
    Resource.objects.update(max_nodes=1)
    farm.resource.refresh_from_db()
    farm.submit()
    farm.lease(farm.node(answers=True))
    Lease.objects.update(created_at=timezone.now() - timedelta(seconds=60))
    with pytest.raises(NoCapacity, match="a node that finishes what it renders, in about 60 s, longer than the 30 s"):
        book(farm, SOON)
    assert book(farm, timedelta(seconds=90)).state == SessionState.PENDING


def test_a_node_at_work_gets_no_more_leases_until_who_waits_has_been_served(farm: Farm) -> None:
    node = farm.node(answers=True)
    farm.submit()
    lease = farm.lease(node)
    session = book(farm, SOON)
    node.refresh_from_db()
    assert farm.ask(node, lease["id"])["lease"] is None
    farm.deliver(node, lease)
    node.refresh_from_db()
    assert node.state == NodeState.IDLE
    assert farm.ask(node)["session"]["id"] == str(session.pk)
    assert now_is(session)[0] == "READY"


def test_only_as_many_nodes_are_held_back_as_people_wait(farm: Farm) -> None:
    pair = [farm.node(answers=True) for _ in range(2)]
    farm.submit(width=256, height=256)
    leases = [farm.lease(node) for node in pair]
    book(farm, SOON)
    answers = []
    for node, lease in zip(pair, leases, strict=True):
        node.refresh_from_db()
        answers.append(farm.ask(node, lease["id"])["lease"])
    assert sorted(answer is None for answer in answers) == [False, True]


def test_who_asked_first_is_served_first(farm: Farm) -> None:
    first, second = book(farm, SOON), book(farm, SOON)
    farm.node(answers=True)
    later(0)
    assert (now_is(first)[0], now_is(second)[0]) == ("READY", "PENDING")


def test_who_comes_later_does_not_overtake(farm: Farm) -> None:
    waiting = book(farm, SOON)
    farm.node(answers=True)
    late = book(farm, SOON)
    later(0)
    assert (now_is(waiting)[0], now_is(late)[0]) == ("READY", "PENDING")


def test_waiting_in_vain_ends_with_a_reason(farm: Farm) -> None:
    session = book(farm, SOON)
    later(31)
    assert now_is(session) == ("FAILED", "No renderer became free within 31 s.")


def test_waiting_ends_at_its_time_and_not_before(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[object] = []
    monkeypatch.setattr(wakeups, "wake", lambda task, *args, at=None: woken.append((task, *args, at)))
    session = book(farm, SOON)
    assert session.wait_until
    punctual = ("rrm.end_wait", str(session.pk), session.wait_until)
    sessions.turn(session.wait_until - 3 * settings.RRM.reconcile_period)
    assert punctual not in woken  # it would be kept for long: a later turn has it woken
    sessions.turn(session.wait_until - settings.RRM.reconcile_period)
    assert punctual in woken
    sessions.end_wait(session.pk)
    assert now_is(session)[0] == "PENDING"
    Session.objects.update(wait_until=timezone.now())
    sessions.end_wait(session.pk)
    assert now_is(session)[0] == "FAILED"
    sessions.end_wait(session.pk)
    assert now_is(session)[0] == "FAILED"


def test_a_person_has_so_many_sessions_and_no_more(farm: Farm) -> None:
    for _ in range(4):
        book(farm, SOON)
    with pytest.raises(TooMany, match="4 open sessions and may have 4; end one first"):
        book(farm, SOON)


def test_while_sessions_are_suspended_none_begins_and_those_open_go_on(farm: Farm) -> None:
    farm.node(answers=True)
    session = book(farm)
    sessions.suspend("ada", "Maintenance until noon.")
    with pytest.raises(Suspended, match="Maintenance until noon"):
        book(farm, SOON)
    later(0)
    assert now_is(session)[0] == "READY"
    sessions.resume("ada")
    assert book(farm, SOON).state == SessionState.PENDING


def test_a_node_that_was_started_for_one_session_serves_it_alone_and_leaves_with_it(farm: Farm) -> None:
    farm.submit()
    session = book(farm, SOON, overrides={"nb_cpus": 3})
    node = Node.objects.get(reserved_for=session.pk)
    assert nodes.spec_of(node).batch.cpus == 3
    report = {"node": node.name, "hostname": "h", "version": "1", "cores": 1, "address": "127.0.0.1:5000"}
    reports.register(nodes.launch_token(node.name), report)
    other = farm.node(answers=True)
    later(0)
    node.refresh_from_db()
    assert (now_is(session)[0], session.node, node.state) == ("READY", node, "BOOKED")
    assert farm.ask(other)["lease"] is not None
    sessions.end(session, "ada")
    node.refresh_from_db()
    assert node.state == NodeState.STOPPING


def test_who_waits_for_a_node_of_their_own_keeps_nobody_from_those_of_all(farm: Farm) -> None:
    own = book(farm, SOON, overrides={"nb_cpus": 3})
    farm.node(answers=True)
    assert book(farm).state == SessionState.READY
    shared = book(farm, SOON)
    assert shared.state == SessionState.PENDING
    assert booking.positions([own, shared]) == {own.pk: 1, shared.pk: 1}


def test_the_node_of_a_wait_that_ends_is_stopped(farm: Farm) -> None:
    session = book(farm, SOON, overrides={"params": "--x"})
    sessions.end(session, "ada")
    assert Node.objects.get(reserved_for=session.pk).state == NodeState.STOPPED


def test_a_reserved_session_that_is_never_opened_ends(farm: Farm) -> None:
    session = booking.reserve(farm.owner, Wish(farm.resource, label="old"))
    farm.node(answers=True)
    later(10)
    assert now_is(session)[0] == "PENDING"
    later(301)
    assert now_is(session) == ("ENDED", "It was never opened.")


def test_a_reserved_session_is_opened_once_and_keeps_the_reason_of_a_refusal(farm: Farm) -> None:
    session = booking.reserve(farm.owner, Wish(farm.resource))
    with pytest.raises(NoCapacity):
        booking.open_reserved(session, Wish(farm.resource), timezone.now())
    session.refresh_from_db()
    assert (session.state, session.opened_at) == ("PENDING", None)
    assert "you would not wait" in session.reason
    farm.node(answers=True)
    assert booking.open_reserved(session, Wish(farm.resource), timezone.now()).state == SessionState.READY
    with pytest.raises(StateConflict):
        booking.open_reserved(session, Wish(farm.resource), timezone.now())


def test_a_reserved_session_whose_own_node_never_came_is_reserved_again(farm: Farm) -> None:
    wish = Wish(farm.resource, max_wait=SOON, overrides={"params": "--x"})
    session = booking.reserve(farm.owner, Wish(farm.resource))
    session = booking.open_reserved(session, wish, timezone.now())
    node = Node.objects.get(reserved_for=session.pk)
    nodes.launch_failed(node, "Could not be started: no such account")
    later(0)
    assert now_is(session) == ("PENDING", "Could not be started: no such account")
    assert (session.opened_at, session.wait_until) == (None, None)
    farm.resource.refresh_from_db()
    assert (farm.resource.launch_failures, farm.resource.retry_at) == (0, None)
    booking.open_reserved(session, wish, timezone.now())
    assert Node.objects.filter(reserved_for=session.pk, state="REQUESTED").count() == 1
    later(0)
    assert now_is(session)[0] == "PENDING"
    assert session.opened_at is not None


def test_after_a_refusal_a_session_may_be_tried_again_for_as_long_as_it_would_live(farm: Farm) -> None:
    Resource.objects.update(max_nodes=0)
    session = booking.reserve(farm.owner, Wish(farm.resource, idle=timedelta(seconds=100)))
    farm.resource.refresh_from_db()
    Session.objects.update(created_at=timezone.now() - timedelta(seconds=90))
    with pytest.raises(NoCapacity):
        booking.open_reserved(session, Wish(farm.resource, overrides={"params": "x"}), timezone.now())
    later(99)
    assert now_is(session)[0] == "PENDING"
    later(101)
    assert now_is(session) == ("ENDED", "It was never opened.")


def test_the_nodes_of_one_session_are_none_of_the_autoscalers_affair(farm: Farm) -> None:
    session = book(farm, SOON, overrides={"params": "--x"})
    decided = scaling.plan(farm.resource, timezone.now())
    assert (decided.want, decided.have, len(decided.drain)) == (0, 0, 0)
    report = {"hostname": "h", "version": "1", "cores": 1, "address": "127.0.0.1:5000"}
    node = Node.objects.get(reserved_for=session.pk)
    reports.register(nodes.launch_token(node.name), {**report, "node": node.name})
    decided = scaling.plan(farm.resource, timezone.now() + timedelta(days=1))
    assert (decided.want, decided.have, len(decided.drain)) == (0, 0, 0)


def test_every_machine_of_a_sessions_batch_job_stays_until_its_end(farm: Farm) -> None:
    cluster = Site.objects.create(id="cluster", kind="slurm", host="h", max_nodes=9)
    farm.place(cluster, 1)
    session = booking.reserve(farm.owner, Wish(farm.resource))
    wish = Wish(farm.resource, max_wait=SOON, overrides={"nb_nodes": 3}, site=cluster)
    session = booking.open_reserved(session, wish, timezone.now())
    own = Node.objects.filter(reserved_for=session.pk).order_by("name")
    assert [node.name.partition(".")[2] for node in own] == ["", "1", "2"]
    for node in own:
        report = {"node": node.name, "hostname": "h", "version": "1", "cores": 1, "address": "10.0.0.5:5000"}
        reports.register(nodes.launch_token(node.name.partition(".")[0]), report)
    later(0)
    assert sorted(own.values_list("state", flat=True)) == ["BOOKED", "IDLE", "IDLE"]
    session.refresh_from_db()
    sessions.end(session, "ada")
    assert set(own.values_list("state", flat=True)) == {"STOPPING"}


def test_two_who_open_one_session_at_the_same_moment_start_one_node(shared_farm: Farm) -> None:
    session = booking.reserve(shared_farm.owner, Wish(shared_farm.resource))
    wish = Wish(shared_farm.resource, max_wait=SOON, overrides={"params": "x"})
    outcomes: list[str] = []
    ready = threading.Barrier(6)

    def run() -> None:
        ready.wait()
        try:
            outcomes.append(booking.open_reserved(session, wish, timezone.now()).state)
        except StateConflict:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["PENDING", *["refused"] * 5]
    assert Node.objects.count() == 1


def test_two_who_want_the_last_node_at_the_same_moment_do_not_both_get_it(shared_farm: Farm) -> None:
    for _ in range(3):
        shared_farm.node(answers=True)
    Resource.objects.update(max_nodes=3)
    shared_farm.resource.refresh_from_db()
    users = [User.objects.create_user(f"user{number}") for number in range(8)]
    outcomes: list[str] = []
    ready = threading.Barrier(len(users))

    def run(user: User) -> None:
        ready.wait()
        try:
            outcomes.append(booking.book(user, Wish(shared_farm.resource), timezone.now()).state)
        except NoCapacity:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["READY"] * 3 + ["refused"] * 5
    assert Session.objects.count() == 3


def test_a_wait_that_ends_as_its_node_comes_is_no_deadlock(shared_farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    session = book(shared_farm, SOON, overrides={"params": "--x"})
    node = Node.objects.get(reserved_for=session.pk)
    report = {"node": node.name, "hostname": "h", "version": "1", "cores": 1, "address": "127.0.0.1:5000"}
    reports.register(nodes.launch_token(node.name), report)
    both = threading.Barrier(2)
    monkeypatch.setattr("rrm.farm.booking.advance", slowly(transitions.advance, both))
    monkeypatch.setattr("rrm.farm.sessions.advance", slowly(transitions.advance, both))
    outcomes = in_threads(
        lambda: sessions.end(Session.objects.get(pk=session.pk), "ada"),
        lambda: booking.serve(Node.objects.select_related("site", "resource").get(pk=node.pk), timezone.now()),
    )
    node.refresh_from_db()
    session.refresh_from_db()
    assert all(outcome in (None, True) or isinstance(outcome, StateConflict) for outcome in outcomes)
    assert (session.state, node.state) in (("ENDED", "STOPPING"), ("READY", "BOOKED"))


def slowly(advance: Callable[..., None], both: threading.Barrier) -> Callable[..., None]:
    """The same, but that two who do it first wait for each other, if one does not keep the other from it."""

    def do(*args: Any, **kwargs: Any) -> None:
        advance(*args, **kwargs)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)

    return do
