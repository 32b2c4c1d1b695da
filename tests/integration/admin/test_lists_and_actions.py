"""The admin pages: what is registered can be edited, the rest is shown, and actions call the use-cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from rrm.domain.states import JobState, NodeState
from rrm.farm import tokens
from rrm.farm.models import Block, Event, Job, Lease, Node, Preload, RenderModel, Resource, Site
from tests import factories as make
from tests.integration.admin.forms import act, filled, listed
from tests.integration.farm.conftest import Farm

VALLEY = {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 2000}
LISTS = ["site", "resource", "rendermodel", "node", "block", "job", "lease", "event", "token", "quota", "preload"]


@pytest.mark.parametrize("noun", LISTS)
def test_every_list_and_row_has_a_page(operator: Client, noun: str) -> None:
    response = operator.get(listed(noun))
    address = re.search(rf'href="(/admin/farm/{noun}/[^/"]+/change/)[^"]*"', response.text)

    assert response.status_code == 200
    assert address
    assert operator.get(address[1]).status_code == 200


@pytest.mark.parametrize("noun", LISTS)
def test_every_list_can_be_searched(operator: Client, noun: str) -> None:
    assert operator.get(listed(noun), {"q": "nothing has this name"}).status_code == 200


@pytest.mark.parametrize("address", ["/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/"])
def test_accounts_have_pages(operator: Client, address: str) -> None:
    assert operator.get(address).status_code == 200


@pytest.mark.parametrize("noun", ["job", "lease", "node", "event", "block", "preload"])
def test_what_use_cases_own_cannot_be_added_edited_or_deleted_by_hand(operator: Client, noun: str) -> None:
    model = {"job": Job, "lease": Lease, "node": Node, "event": Event, "block": Block, "preload": Preload}[noun]
    row = model._default_manager.all()[0]

    assert operator.get(reverse(f"admin:farm_{noun}_add")).status_code == 403
    assert operator.post(reverse(f"admin:farm_{noun}_change", args=[row.pk]), {"state": "DONE"}).status_code == 403
    assert operator.post(reverse(f"admin:farm_{noun}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("noun", LISTS)
def test_a_longer_list_takes_no_more_queries(
    operator: Client, farm: Farm, noun: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(40) as few:
        operator.get(listed(noun))
    for number in range(5):
        farm.place(farm.add_site(f"site-{number}"), number + 1)
        Resource.objects.create(id=f"resource-{number}")
        farm.submit(params=VALLEY | {"max_iter": 100 + number}, resource="mandelbrot")
        farm.lease(farm.node())
        tokens.issue(farm.owner, f"token {number}", ["read"])
        make.preload(farm.owner, Resource.objects.get(pk=f"resource-{number}"))

    with django_assert_max_num_queries(40) as many:
        operator.get(listed(noun))

    assert len(many.captured_queries) == len(few.captured_queries)


def test_rows_link_to_what_belongs_to_them(operator: Client, farm: Farm) -> None:
    job, node = Job.objects.get(), Node.objects.get()

    jobs_page, nodes_page = operator.get(listed("job")).text, operator.get(listed("node")).text

    assert f"/job/{job.pk}" in jobs_page
    for address in re.findall(r'href="(/admin/farm/(?:lease|event)/\?[^"]+)"', jobs_page + nodes_page):
        response = operator.get(address.replace("&amp;", "&"), follow=True)
        assert response.redirect_chain == [], f"{address} is refused"
        assert response.context["cl"].result_count > 0
    assert node.name in operator.get(listed("lease"), {"node__id__exact": str(node.pk)}).text


def test_progress_and_colours_are_shown(operator: Client, farm: Farm) -> None:
    Site.objects.update(color="#12ab34")

    assert '<progress max="16" value="2"' in operator.get(listed("job")).text
    assert "#12ab34" in operator.get(listed("site")).text


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("cancel", JobState.RUNNING, JobState.CANCELLED),
        ("pause", JobState.RUNNING, JobState.PAUSED),
        ("resume", JobState.PAUSED, JobState.RUNNING),
        ("retry", JobState.CANCELLED, JobState.QUEUED),
    ],
)
def test_an_action_on_jobs_calls_its_use_case_and_names_who_did_it(
    operator: Client, farm: Farm, action: str, before: str, after: str
) -> None:
    job = Job.objects.get()
    paths = {JobState.PAUSED: ["pause"], JobState.CANCELLED: ["cancel"], JobState.RUNNING: []}
    for step in paths[JobState(before)]:
        act(operator, "job", step, job)

    response = act(operator, "job", action, job)

    job.refresh_from_db()
    assert job.state == after
    assert "Aurora" in [str(message).partition(":")[0] for message in response.context["messages"]]
    assert Event.objects.filter(job=job, kind="state", actor="operator").last().data["state"] == after  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        (JobState.RUNNING, {"cancel", "pause"}),
        (JobState.PAUSED, {"cancel", "resume"}),
        (JobState.CANCELLED, {"retry", "forget"}),
        (JobState.FAILED, {"retry", "forget"}),
    ],
)
def test_the_page_of_a_job_offers_what_makes_sense(operator: Client, farm: Farm, state: str, offered: set[str]) -> None:
    Job.objects.update(state=state)
    page = reverse("admin:farm_job_change", args=[Job.objects.get().pk])

    text = operator.get(page).text

    below = page.removesuffix("change/")
    assert set(re.findall(rf'href="{below}([a-z]+)/', text)) - {"history", "change"} == offered


def test_an_action_on_the_page_of_a_job_asks_and_then_acts(
    operator: Client, farm: Farm, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    job = Job.objects.get()
    page = reverse("admin:farm_job_change", args=[job.pk])
    cancel, forget = (page.replace("change", action) for action in ("cancel", "forget"))

    assert "Cancel these jobs?" in operator.get(cancel).text
    assert Job.objects.get().state == JobState.RUNNING
    assert operator.post(cancel, {"confirmed": "yes"}).headers["Location"] == page
    assert Job.objects.get().state == JobState.CANCELLED
    with django_capture_on_commit_callbacks(execute=True):
        assert operator.post(forget, {"confirmed": "yes"}).headers["Location"] == listed("job")
    assert operator.get(forget).status_code == 404


def test_actions_are_for_staff_who_may_see_the_rows(client: Client, farm: Farm) -> None:
    job = Job.objects.get()
    client.force_login(User.objects.create_user("guest", is_staff=True))
    page = reverse("admin:farm_job_change", args=[job.pk]).replace("change", "cancel")

    assert client.post(page, {"confirmed": "yes"}).status_code == 403
    assert client.post(listed("job"), {"action": "cancel", "_selected_action": str(job.pk)}).status_code == 403
    assert Job.objects.get().state == JobState.RUNNING


def test_an_action_changes_nothing_before_it_is_confirmed(operator: Client, farm: Farm) -> None:
    job = Job.objects.get()

    operator.post(listed("job"), {"action": "cancel", "_selected_action": [str(job.pk)], "index": "0"})

    job.refresh_from_db()
    assert job.state == JobState.RUNNING


def test_rows_that_cannot_do_it_are_named_and_the_others_are_done(operator: Client, farm: Farm) -> None:
    running, other = Job.objects.get(), farm.submit(name="Borealis")
    act(operator, "job", "cancel", other)

    response = act(operator, "job", "cancel", running, other)

    running.refresh_from_db()
    said = {message.tags: str(message) for message in response.context["messages"]}
    assert running.state == JobState.CANCELLED
    assert said["success"] == "Aurora: cancelled"
    assert said["error"].startswith("Borealis: ")


def test_a_finished_job_is_deleted_with_its_files(
    operator: Client, farm: Farm, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    from rrm.farm import jobs

    job = Job.objects.get()
    act(operator, "job", "cancel", job)
    assert jobs.files(job).ranges.is_dir()

    with django_capture_on_commit_callbacks(execute=True):
        act(operator, "job", "forget", job)

    assert not Job.objects.exists()
    assert not jobs.files(job).folder.exists()


@pytest.mark.parametrize(("action", "after"), [("drain", NodeState.DRAINING), ("stop", NodeState.STOPPING)])
def test_nodes_are_drained_and_stopped(operator: Client, farm: Farm, action: str, after: str) -> None:
    node = Node.objects.get()

    act(operator, "node", action, node)

    node.refresh_from_db()
    assert (node.state, "operator" in node.reason) == (after, True)


def test_a_block_is_forgiven_and_a_quarantine_lifted(operator: Client, farm: Farm) -> None:
    RenderModel.objects.update(quarantined_until=timezone.now() + timedelta(minutes=10))

    act(operator, "block", "forgive", Block.objects.get())
    act(operator, "rendermodel", "lift_quarantine", RenderModel.objects.get())

    assert Block.objects.get().lifted_by == "operator"
    assert Block.objects.get().until <= timezone.now()
    assert RenderModel.objects.get().quarantined_until is None
    shown = [operator.get(listed("block"), {"in_force": answer}).text for answer in ("yes", "no")]
    assert ["it failed" in page for page in shown] == [False, True]


@pytest.mark.parametrize(("noun", "model"), [("site", Site), ("resource", Resource)])
def test_sites_and_resources_are_disabled_and_enabled(operator: Client, noun: str, model: Any) -> None:
    row = model.objects.get()

    act(operator, noun, "disable", row)
    assert not model.objects.get().enabled
    act(operator, noun, "enable", row)
    assert model.objects.get().enabled

    told = Event.objects.filter(kind="log", subject_type=noun, subject_id=row.pk, actor="operator")
    assert [event.data["message"].partition(": ")[2] for event in told] == [
        "disabled by operator",
        "enabled by operator",
    ]


def test_a_site_is_checked_and_what_is_wrong_is_shown(operator: Client, farm: Farm) -> None:
    Site.objects.update(kind="ssh", host="127.0.0.1", port=1)

    for action in ("examine", "bootstrap"):
        shown = act(operator, "site", action, Site.objects.get())
        assert "127.0.0.1:1 cannot be reached" in " ".join(map(str, shown.context["messages"]))


def test_a_site_edited_by_hand_leaves_an_event(operator: Client, farm: Farm) -> None:
    address = reverse("admin:farm_site_change", args=["here"])
    wanted = filled(operator, address) | {"max_nodes": 7}

    response = operator.post(address, wanted)

    assert response.status_code == 302, response.context["errors"]
    assert Site.objects.get().max_nodes == 7
    assert Event.objects.filter(subject_type="site", actor="operator").get().data["message"] == (
        "site here: max_nodes changed by operator"
    )


def test_what_a_site_can_do_is_edited_as_words(operator: Client, farm: Farm) -> None:
    address = reverse("admin:farm_site_change", args=["here"])
    wanted = filled(operator, address)
    for said, kept in (("gpu, avx512 gpu", ["avx512", "gpu"]), ("avx512, gpu", ["avx512", "gpu"]), ("", [])):
        assert operator.post(address, wanted | {"capabilities": said}).status_code == 302
        assert Site.objects.get().capabilities == kept
        assert filled(operator, address).get("capabilities", "") == ", ".join(kept)
    told = [event.data["message"] for event in Event.objects.filter(subject_type="site", actor="operator")]
    assert told == ["site here: capabilities changed by operator", "site here:  changed by operator", told[0]]

    refused = operator.post(address, wanted | {"capabilities": "GPU"})

    assert "lower-case letters" in str(refused.context["adminform"].form.errors["capabilities"])


def test_a_resource_is_edited_with_its_sites(operator: Client, farm: Farm) -> None:
    farm.add_site("there")
    address = reverse("admin:farm_resource_change", args=["mandelbrot"])
    placement = farm.resource.placements.get()
    inline = {
        "placements-TOTAL_FORMS": 2,
        "placements-INITIAL_FORMS": 1,
        "placements-0-id": placement.pk,
        "placements-0-resource": "mandelbrot",
        "placements-0-site": "here",
        "placements-0-position": 1,
        "placements-1-resource": "mandelbrot",
        "placements-1-site": "there",
        "placements-1-position": 0,
    }

    response = operator.post(address, filled(operator, address) | inline)

    assert response.status_code == 302, response.context["errors"]
    assert [place.site_id for place in farm.resource.placements.all()] == ["there", "here"]


def test_a_model_is_named_by_adding_its_parameters(operator: Client, farm: Farm) -> None:
    unnamed = RenderModel.objects.get()
    form = {"name": "aurora", "params": '{"center": ["-0.50", 0.0], "radius": 1.25, "max_iter": 64}', "pinned": "on"}

    response = operator.post(reverse("admin:farm_rendermodel_add"), form)

    assert response.status_code == 302, response.context["errors"]
    unnamed.refresh_from_db()
    assert (RenderModel.objects.count(), unnamed.name, unnamed.pinned) == (1, "aurora", True)


def test_bad_parameters_of_a_model_are_named(operator: Client) -> None:
    form = {"name": "deep", "params": '{"center": [0, 0], "radius": "-1", "max_iter": 64}'}

    response = operator.post(reverse("admin:farm_rendermodel_add"), form)

    assert response.context["adminform"].form.errors["params"] == ["params.radius: Must be greater than 0."]


def test_staff_without_permissions_see_nothing(client: Client, farm: Farm) -> None:
    client.force_login(User.objects.create_user("guest", is_staff=True))

    assert client.get(listed("job")).status_code == 403


def test_no_page_shows_the_digest_of_a_node_token(operator: Client, farm: Farm) -> None:
    node = Node.objects.get()

    text = operator.get(reverse("admin:farm_node_change", args=[node.pk])).text

    assert node.name in text
    assert node.token_digest not in text


def test_a_block_has_a_name_that_says_what_it_is(operator: Client, farm: Farm) -> None:
    answer = act(operator, "block", "forgive", Block.objects.get())
    assert "Block of n1 at here for mandelbrot: forgiven" in answer.text


def test_variables_that_are_none_are_refused(operator: Client, farm: Farm) -> None:
    address = reverse("admin:farm_resource_change", args=[farm.resource.pk])
    answer = operator.post(address, {**filled(operator, address), "environment_variables": "NOEQUALS"})
    assert "NAME=VALUE" in answer.context["adminform"].form.errors["environment_variables"][0]
