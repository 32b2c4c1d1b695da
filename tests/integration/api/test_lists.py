"""Lists: pages that stay right while rows come and go, filters, and a number of queries that does not grow."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from rrm.domain.states import JobState, NodeState
from rrm.farm.models import HeldModel, Job
from tests import factories as make
from tests.factories import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return make.person("ada")


@pytest.fixture
def me(ada: User) -> Caller:
    return make.caller(ada)


def walk(caller: Caller, path: str, link: str = "next") -> list[Any]:
    """Every row of a list, page after page."""
    rows, url = [], path
    while url:
        page = caller.get(url if not url.startswith("http") else url.split("testserver")[1]).json()
        rows.append(page["results"])
        url = page[link]
    return rows


def _jobs(owner: User, count: int, **fields: Any) -> list[Job]:
    resource = make.resource(make.site())
    model = make.render_model()
    return [make.job(owner, resource, model=model, name=f"job {number:02}", **fields) for number in range(count)]


@pytest.mark.parametrize("ordering", ["-created_at", "created_at", "name", "-name", "state", "-state"])
def test_pages_hold_every_row_once_in_order(ada: User, me: Caller, ordering: str) -> None:
    made = _jobs(ada, 7)
    Job.objects.filter(pk__in=[job.pk for job in made[:3]]).update(state=JobState.PAUSED)
    Job.objects.update(created_at=made[0].created_at)  # equal sort values must not lose or repeat a row

    pages = walk(me, f"job/?page_size=3&ordering={ordering}")
    rows = [row for page in pages for row in page]

    assert [len(page) for page in pages] == [3, 3, 1]
    assert {row["id"] for row in rows} == {str(job.pk) for job in made}
    field = ordering.removeprefix("-")
    assert [row[field] for row in rows] == sorted((row[field] for row in rows), reverse=ordering.startswith("-"))


def test_a_row_that_comes_or_goes_between_two_pages_moves_no_other(ada: User, me: Caller) -> None:
    made = _jobs(ada, 6)
    first = me.get("job/?page_size=2").json()
    extra = make.job(ada, made[0].resource, name="newest")
    seen = {row["id"] for row in first["results"]}
    Job.objects.filter(pk__in=seen).delete()

    rest = walk(me, first["next"].split("testserver")[1])

    assert {row["id"] for page in rest for row in page} == {str(job.pk) for job in made} - seen
    assert str(extra.pk) not in seen


def test_the_previous_page_is_the_one_that_one_came_from(ada: User, me: Caller) -> None:
    _jobs(ada, 5)
    first = me.get("job/?page_size=2").json()
    second = me.get(first["next"].split("testserver")[1]).json()
    third = me.get(second["next"].split("testserver")[1]).json()

    back = me.get(third["previous"].split("testserver")[1]).json()
    start = me.get(back["previous"].split("testserver")[1]).json()

    assert back["results"] == second["results"]
    assert start["results"] == first["results"]
    assert first["previous"] is None
    assert third["next"] is None
    assert start["previous"] is None


def test_links_keep_the_filters(ada: User, me: Caller) -> None:
    _jobs(ada, 3)
    _jobs(ada, 2, state=JobState.PAUSED)

    pages = walk(me, "job/?state=QUEUED&page_size=2")

    assert [row["state"] for page in pages for row in page] == ["QUEUED"] * 3


def test_a_page_has_a_thousand_rows_at_most(operator: Caller) -> None:
    make.render_model()
    model = make.render_model()
    type(model).objects.bulk_create(
        type(model)(renderer="mandelbrot", params={}, digest=f"{number:064}") for number in range(1001)
    )

    assert len(operator.get("model/?page_size=5000").json()["results"]) == 1000


def test_an_empty_list_is_one_empty_page(me: Caller) -> None:
    assert me.get("job/").json() == {"next": None, "previous": None, "results": []}


def test_jobs_are_found_by_state_owner_resource_model_priority_and_part_of_the_name(ada: User) -> None:
    operator = make.caller(make.person("olga", is_operator=True))
    mine = _jobs(ada, 2)[0]
    theirs = _jobs(make.person("bob"), 1, priority="high", state=JobState.PAUSED)[0]

    def found(query: str) -> set[str]:
        return {row["id"] for row in operator.get(f"job/?{query}").json()["results"]}

    assert found("owner=bob") == found("priority=high") == found("state=PAUSED") == {str(theirs.pk)}
    assert found(f"resource={theirs.resource_id}") == {str(theirs.pk)}
    assert found(f"resource={mine.resource_id}&name=B%2000") == {str(mine.pk)}
    assert len(found("state=PAUSED&state=QUEUED")) == 3
    assert len(found(f"model={mine.model_id}")) == 3


def test_a_page_of_jobs_is_read_from_an_index_whatever_their_number(operator: Caller, ada: User) -> None:
    _jobs(ada, 3)
    _jobs(ada, 2, state=JobState.PAUSED)

    for query in ("", "?state=PAUSED", "?ordering=created_at"):
        with CaptureQueriesContext(connection) as asked:
            assert operator.get(f"job/{query}").status_code == 200
        (read,) = [each["sql"] for each in asked.captured_queries if 'FROM "farm_job"' in each["sql"]][:1]
        assert "DISTINCT" not in read
        if connection.vendor == "sqlite":  # PostgreSQL sorts what is so small
            with connection.cursor() as cursor:
                steps = [row[-1] for row in cursor.execute(f"EXPLAIN QUERY PLAN {read}").fetchall()]
            assert "USE TEMP B-TREE FOR ORDER BY" not in steps, steps


def test_nodes_are_found_by_state_resource_and_site(me: Caller) -> None:
    here, there = make.site("here"), make.site("there")
    resource = make.resource(here, there)
    make.node(resource, here)
    gone = make.node(resource, there, NodeState.STOPPED)

    for query in ("state=STOPPED", "site=there"):
        assert [row["id"] for row in me.get(f"node/?{query}").json()["results"]] == [str(gone.pk)]
    assert me.get("node/?resource=nothing").json()["results"] == []


def test_named_models_are_told_from_the_others(operator: Caller) -> None:
    make.render_model()
    operator.post("model/", {"params": {**make.VIEW, "max_iter": 65}, "name": "Valley"})

    assert [row["name"] for row in operator.get("model/?named=true").json()["results"]] == ["valley"]
    assert [row["name"] for row in operator.get("model/?named=false").json()["results"]] == [None]


def test_events_are_found_by_kind_subject_job_and_time(ada: User, me: Caller) -> None:
    first, second = _jobs(ada, 2)

    def count(query: str) -> int:
        return len(me.get(f"event/?{query}").json()["results"])

    assert count("kind=state") == 2
    assert count("kind=tiles") == 0
    assert count(f"job={first.pk}") == count(f"subject=job:{second.pk}") == 1
    assert count("subject=job") == 2
    assert count("since=2001-01-01T00:00:00Z") == 2
    assert count("since=2100-01-01T00:00:00Z") == 0


def _grow(owner: User, count: int) -> None:
    """More of everything that lists show."""
    for _ in range(count):
        site = make.site()
        resource = make.resource(site)
        node = make.node(resource, site)
        job = make.running_job(owner, resource, node)
        make.job(owner, resource, model=job.model)
        HeldModel.objects.create(node=node, model=make.render_model(max_iter=100 + HeldModel.objects.count()))


LISTS = ("site/", "resource/", "node/", "model/", "job/", "event/", "token/", "farm/")


@pytest.mark.parametrize("path", LISTS)
def test_a_list_takes_the_same_number_of_queries_however_long_it_is(ada: User, me: Caller, path: str) -> None:
    me.get(path)  # notes the use of the token
    _grow(ada, 1)
    with CaptureQueriesContext(connection) as few:
        me.get(path)
    _grow(ada, 4)

    with CaptureQueriesContext(connection) as many:
        me.get(path)

    assert len(many) == len(few), [query["sql"] for query in many.captured_queries]


def test_a_job_takes_the_same_number_of_queries_however_many_nodes_worked_on_it(ada: User, me: Caller) -> None:
    site = make.site()
    resource = make.resource(site)
    job = make.running_job(ada, resource, make.node(resource, site))
    paths = [f"job/{job.pk}/", f"job/{job.pk}/timeline"]
    counts = []
    for path in paths:
        with CaptureQueriesContext(connection) as few:
            me.get(path)
        counts.append(len(few))
    for start in range(8, 16, 2):
        make.lease(job, make.node(resource, site), (start, start + 2))

    for path, expected in zip(paths, counts, strict=True):
        with CaptureQueriesContext(connection) as many:
            me.get(path)
        assert len(many) <= expected, [query["sql"] for query in many.captured_queries]
