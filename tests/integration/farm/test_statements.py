"""Plain statements give and store the same as the query builder, on every database."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, transaction
from django.db.models import Model
from django.utils import timezone

from rrm.domain.states import LeaseState, NodeState
from rrm.farm import statements, tokens
from rrm.farm.models import Event, HeldModel, Job, JobShare, Lease, Node, Quota, RenderModel, Resource, Session, Site
from tests.integration.farm.conftest import Farm


def columns(row: Model) -> dict[str, object]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@pytest.mark.parametrize("model", [Node, Site, Resource, Job, JobShare, Lease, HeldModel, RenderModel, Event, Quota])
def test_a_row_is_read_with_the_same_values(farm: Farm, model: type[Model]) -> None:
    farm.submit()
    farm.lease(farm.node())
    expected = model._default_manager.all()[0]

    found = statements.get(model, pk=expected.pk)

    assert columns(found) == columns(expected)
    assert not found._state.adding


def test_a_row_that_is_not_there_is_none_or_an_error(db: None) -> None:
    assert statements.first(Node, pk=uuid.uuid4()) is None
    with pytest.raises(ObjectDoesNotExist, match="node"):
        statements.get(Node, pk=uuid.uuid4())
    with pytest.raises(ObjectDoesNotExist, match="job"):
        statements.count_up(Job, "event_seq", uuid.uuid4())


def test_a_row_is_stored_as_it_would_be_saved(farm: Farm) -> None:
    job, node = farm.submit(), farm.node()
    share, now = job.shares.get(), timezone.now()
    lease = Lease(job=job, share=share, node=node, start=0, stop=1, decision="warm", warm=True, deadline=now)
    event = Event(
        kind="log", subject_type="job", subject_id=str(job.pk), job=job, seq=99, data={"ä": [1, None, '"%s"']}
    )

    assert statements.insert(lease)
    assert statements.insert(event)

    assert columns(Lease.objects.get(pk=lease.pk)) == columns(lease)
    stored = Event.objects.get(job=job, seq=99)
    assert {**columns(stored), "id": None} == columns(event)
    stored.delete()
    JobShare.objects.filter(pk=share.pk).update(cursor=1)
    Lease.objects.all().delete()
    JobShare.objects.filter(pk=share.pk).update(cursor=0)


def test_a_row_is_stored_only_if_there_is_another(farm: Farm) -> None:
    job, node = farm.submit(), farm.node()
    lease = Lease(job=job, share=job.shares.get(), node=node, start=0, stop=1, deadline=timezone.now())
    source = "farm_job WHERE id = %s AND state = %s"

    assert not statements.insert(lease, source, [statements.key(Job, job.pk), "PAUSED"])

    assert Lease.objects.count() == 0


def test_columns_are_set_and_counted_where_others_have_these_values(farm: Farm) -> None:
    first, second = farm.node(), farm.node()
    before, now = first.last_heartbeat, timezone.now() - timedelta(seconds=7)
    which = {"pk": first.pk, "state": NodeState.IDLE}

    assert statements.update(Node, which, {"last_heartbeat": now, "idle_since": None}, {"tiles_done": 3}) == 1
    assert statements.update(Node, {**which, "state": NodeState.BUSY}, {"reason": "no"}) == 0

    changed, other = Node.objects.get(pk=first.pk), Node.objects.get(pk=second.pk)
    assert (changed.last_heartbeat, changed.idle_since, changed.tiles_done, changed.reason) == (now, None, 3, "")
    assert before is not None
    assert (other.tiles_done, other.idle_since is None) == (0, False)


def test_a_row_may_stand_for_its_key(farm: Farm) -> None:
    node, session = farm.node(), Session(owner=farm.owner, resource=farm.resource, idle_seconds=60)
    session.save()

    statements.update(Session, {"pk": session.pk}, {"node": node})

    assert Session.objects.get().node_id == node.pk
    Session.objects.all().delete()


def test_what_was_counted_comes_back(farm: Farm) -> None:
    job = Job.objects.get(pk=farm.submit().pk)

    number = statements.count_up(Job, "event_seq", job.pk, {"name": "new"}, {"loads": 2})

    stored = Job.objects.get(pk=job.pk)
    assert (stored.event_seq, stored.name, stored.loads) == (number, "new", 2)
    assert number == job.event_seq + 1
    Job.objects.filter(pk=job.pk).update(event_seq=job.event_seq, loads=0)


def test_errors_of_the_database_are_those_of_the_query_builder(farm: Farm) -> None:
    event = Event(kind="log", subject_type="job", subject_id="1", job=farm.submit(), seq=1, data={})

    with pytest.raises(IntegrityError), transaction.atomic():
        statements.insert(event)


def test_a_calling_node_comes_with_its_site_in_two_queries(farm: Farm, django_assert_num_queries: object) -> None:
    node = farm.node()

    with django_assert_num_queries(2):  # type: ignore[operator]
        found = tokens.calling(token_digest=node.token_digest)
        assert found is not None
        assert (found, found.site) == (node, farm.site)
    assert tokens.calling(pk=uuid.uuid4()) is None
    assert LeaseState.ACTIVE not in {lease.state for lease in found.leases.all()}
