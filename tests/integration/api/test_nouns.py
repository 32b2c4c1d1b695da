"""Sites, resources, nodes and models: made, changed, checked, refused to be removed while in use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rrm.domain.palettes import PALETTES
from rrm.domain.states import NodeState
from rrm.farm import nodes
from rrm.farm.checking import local
from rrm.farm.models import Event, Node, RenderModel, Resource, Site
from tests import factories as make
from tests.factories import API, VIEW, Caller, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db


def test_a_site_is_made_changed_and_removed(operator: Caller) -> None:
    made = operator.post("site/", {"id": "Mars", "name": "Mars", "color": "#aa0000", "max_nodes": 3})

    assert made.status_code == 201
    assert made.headers["Location"] == f"{API}site/mars/"
    assert made.json()["kind"] == "local"
    assert operator.patch("site/MARS/", {"max_nodes": 5}).json()["max_nodes"] == 5
    assert operator.get("site/mars/").json()["color"] == "#aa0000"
    assert operator.delete("site/mars/").status_code == 204
    problem(operator.get("site/mars/"), 404, "not-found")


def test_what_operators_do_is_on_record_under_their_names(operator: Caller) -> None:
    operator.post("site/", {"id": "mars"})
    operator.patch("site/mars/", {"enabled": False})
    operator.post("resource/", {"id": "r", "sites": ["mars"]})
    operator.delete("resource/r/")
    operator.delete("site/mars/")

    seen = [(event.kind, event.subject_id, event.actor) for event in Event.objects.order_by("id")]
    site, resource = ("site", "mars", "olga"), ("resource", "r", "olga")
    assert seen == [site, site, resource, resource, site]


def test_the_id_of_a_site_or_resource_cannot_be_changed(farm: Farm, operator: Caller) -> None:
    problem(operator.patch("site/here/", {"id": "there"}), 422, "invalid")
    problem(operator.patch("resource/mandelbrot/", {"id": "other"}), 422, "invalid")


def test_a_site_in_use_is_not_removed(farm: Farm, operator: Caller) -> None:
    problem(operator.delete("site/here/"), 409, "state-conflict")
    assert Site.objects.count() == 1
    assert not Event.objects.filter(kind="site").exists()


@pytest.mark.slow
def test_a_check_of_this_machine_tries_what_a_node_needs(operator: Caller, live_server: Any, settings: Any) -> None:
    make.site("here")
    settings.RRM = replace(settings.RRM, manager_url=live_server.url)

    answer = operator.post("site/here/check").json()

    assert {check["name"]: check["ok"] for check in answer["checks"]} == {
        "data folder": True,
        "free disk space": True,
        "python and renderers": True,
        "route to the manager": True,
    }
    assert answer["ok"] is True
    assert all(check["seconds"] >= 0 and check["detail"] for check in answer["checks"])


def test_a_check_names_what_is_wrong(operator: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_renderers", lambda: "")
    settings.RRM = replace(settings.RRM, data_dir=settings.RRM.data_dir / "missing", manager_url="http://127.0.0.1:1")
    make.site("here")

    answer = operator.post("site/here/check").json()

    wrong = {check["name"] for check in answer["checks"] if not check["ok"]}
    assert wrong == {"data folder", "free disk space", "route to the manager"}
    assert answer["ok"] is False


def test_a_resource_keeps_its_sites_in_order(operator: Caller) -> None:
    for id in ("a", "b", "c"):
        make.site(id)

    made = operator.post("resource/", {"id": "r", "sites": ["c", "A"], "nb_cpus": 4, "extra_directives": ["-x"]}).json()

    assert made["sites"] == ["c", "a"]
    assert (made["nb_cpus"], made["extra_directives"]) == (4, ["-x"])
    assert operator.patch("resource/r/", {"sites": ["b", "a", "c"]}).json()["sites"] == ["b", "a", "c"]
    assert operator.patch("resource/r/", {"name": "R"}).json()["sites"] == ["b", "a", "c"]
    assert operator.patch("resource/r/", {"sites": []}).json()["sites"] == []


def test_a_resource_has_the_seventeen_settings_of_the_first_rrm(operator: Caller) -> None:
    body = operator.post("resource/", {"id": "r"}).json()

    assert {
        "id": "r",
        "command_line": "",
        "environment_variables": "",
        "modules": "",
        "process_rest_parameters_format": "",
        "scheduler_rest_parameters_format": "",
        "project": "",
        "queue": "",
        "exclusive": False,
        "nb_nodes": 0,
        "nb_cpus": 1,
        "nb_gpus": 0,
        "memory": 0,
        "graceful_exit": True,
        "wait_until_running": True,
        "name": "",
        "description": "",
    }.items() <= body.items()


def test_an_id_may_be_sent_again_as_it_is(farm: Farm, operator: Caller) -> None:
    assert operator.patch("resource/mandelbrot/", {"id": "Mandelbrot", "name": "M"}).json()["name"] == "M"
    assert operator.patch("site/here/", {"id": "here", "name": "H"}).json()["name"] == "H"


def test_only_operators_see_the_values_of_environment_variables(farm: Farm, operator: Caller, stranger: Caller) -> None:
    operator.patch("resource/mandelbrot/", {"environment_variables": "LICENCE=s3cret MODE=fast"})

    assert operator.get("resource/mandelbrot/").json()["environment_variables"] == "LICENCE=s3cret MODE=fast"
    for body in (stranger.get("resource/mandelbrot/").json(), stranger.get("resource/").json()["results"][0]):
        assert body["environment_variables"] == "LICENCE=… MODE=…"


def test_changing_a_resource_leaves_the_autoscalers_memory_alone(farm: Farm, operator: Caller) -> None:
    Resource.objects.update(launch_failures=2)

    operator.patch("resource/mandelbrot/", {"max_nodes": 7})

    assert Resource.objects.get().launch_failures == 2


def test_a_resource_says_how_it_is_and_why(farm: Farm, owner: Caller, operator: Caller) -> None:
    def status() -> tuple[str, bool]:
        body = owner.get("resource/mandelbrot/").json()
        return body["status"], bool(body["reason"])

    seen = [status()]
    farm.submit()
    seen.append(status())
    operator.patch("resource/mandelbrot/", {"enabled": False})
    seen.append(status())
    operator.patch("resource/mandelbrot/", {"enabled": True})
    Resource.objects.update(launch_failures=5)
    seen.append(status())
    Resource.objects.update(launch_failures=0)
    farm.lease(farm.node())
    seen.append(status())

    assert seen == [(word, True) for word in ("idle", "starved", "suspended", "inoperable", "active")]


def test_a_resource_with_jobs_is_not_removed(farm: Farm, operator: Caller) -> None:
    farm.submit()

    problem(operator.delete("resource/mandelbrot/"), 409, "state-conflict")
    assert Resource.objects.count() == 1


def test_the_script_shows_what_would_run_and_no_secret(farm: Farm, owner: Caller) -> None:
    body = owner.get("resource/mandelbrot/script?site=here").json()

    assert "renderers" in body["script"]
    assert "masked" not in body["script"]
    problem(owner.get("resource/mandelbrot/script?site=mars"), 404, "not-found")


def test_a_node_is_started_drained_and_stopped_by_hand(farm: Farm, operator: Caller) -> None:
    made = operator.post("node/", {"resource": "Mandelbrot", "site": "here"})

    assert made.status_code == 202
    assert made.json()["state"] == "REQUESTED"
    path = made.headers["Location"]
    assert operator.get(path).json() == made.json()
    assert operator.post(f"{path}stop").json()["state"] == "STOPPED"
    idle = farm.node()
    assert operator.post(f"node/{idle.pk}/drain").json()["reason"] == "Drained by olga"
    assert Node.objects.get(pk=idle.pk).state == NodeState.DRAINING


@pytest.mark.parametrize(
    ("order", "field"),
    [({}, "resource"), ({"resource": "x"}, "resource"), ({"resource": "mandelbrot", "site": "x"}, "site")],
)
def test_a_node_of_nothing_cannot_be_started(farm: Farm, operator: Caller, order: Any, field: str) -> None:
    assert list(problem(operator.post("node/", order), 422, "invalid")["errors"]) == [field]


def test_a_node_beyond_the_limit_cannot_be_started(farm: Farm, operator: Caller) -> None:
    Resource.objects.update(max_nodes=0)

    problem(operator.post("node/", {"resource": "mandelbrot"}), 409, "state-conflict")


def test_a_node_that_is_gone_cannot_be_stopped(farm: Farm, operator: Caller) -> None:
    node = make.node(farm.resource, farm.site, NodeState.STOPPED)

    problem(operator.post(f"node/{node.pk}/stop"), 409, "state-conflict")


def test_a_node_shows_its_models_and_its_job(farm: Farm, owner: Caller) -> None:
    job = farm.submit()
    node = farm.node()
    farm.lease(node)

    body = owner.get(f"node/{node.pk}/").json()

    assert (body["job"], body["models"], body["state"]) == (str(job.pk), [str(job.model_id)], "BUSY")
    assert owner.get(f"model/{job.model_id}/").json()["nodes"] == [str(node.pk)]


def test_the_log_of_a_node_is_plain_text(farm: Farm, operator: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def log(node: Node, *which: Any) -> str:
        asked.append(which)
        return "a <b>\nline\n"

    monkeypatch.setattr(nodes, "log", log)

    response = operator.get(f"node/{farm.node().pk}/log?stream=err&tail=7")

    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == b"a <b>\nline\n"
    assert asked == [("err", 7)]


def test_equal_parameters_are_the_same_model(owner: Caller) -> None:
    first = owner.post("model/", {"params": VIEW})
    second = owner.post("model/", {"params": {**VIEW, "center": ["-0.50", "0.0"], "radius": "1.250"}})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Location"] == f"{API}model/{first.json()['id']}/"


def test_a_model_is_found_by_id_and_name_pinned_and_renamed(owner: Caller, operator: Caller) -> None:
    model = operator.post("model/", {"params": VIEW, "name": "valley"}).json()

    assert owner.get("model/Valley/").json() == owner.get(f"model/{model['id']}/").json() == model
    changed = operator.patch("model/valley/", {"pinned": True, "name": "burst"}).json()
    assert (changed["pinned"], changed["name"]) == (True, "burst")
    problem(owner.get("model/valley/"), 404, "not-found")
    assert operator.patch("model/burst/", {"name": None}).json()["name"] is None


def test_only_operators_name_models(owner: Caller, operator: Caller) -> None:
    problem(owner.post("model/", {"params": VIEW, "name": "valley"}), 403, "forbidden")
    assert not RenderModel.objects.exists()
    model = owner.post("model/", {"params": VIEW}).json()
    problem(owner.post("model/", {"params": VIEW, "name": "valley"}), 403, "forbidden")
    problem(owner.patch(f"model/{model['id']}/", {"name": "valley"}), 403, "forbidden")
    assert operator.post("model/", {"params": VIEW, "name": "valley"}).json()["id"] == model["id"]


@pytest.mark.parametrize("name", ["0190d6a5-0000-7000-8000-000000000000", "0190D6A500007000-8000000000000000"])
def test_a_name_that_looks_like_an_id_is_refused(owner: Caller, operator: Caller, name: str) -> None:
    assert "name" in problem(operator.post("model/", {"params": VIEW, "name": name}), 422, "invalid")["errors"]
    model = owner.post("model/", {"params": VIEW}).json()
    assert "name" in problem(operator.patch(f"model/{model['id']}/", {"name": name}), 422, "invalid")["errors"]


def test_ids_may_be_written_in_capitals(farm: Farm, owner: Caller, operator: Caller) -> None:
    job, node = farm.submit(), farm.node()

    assert owner.get(f"job/{str(job.pk).upper()}/").json()["id"] == str(job.pk)
    assert operator.get(f"node/{str(node.pk).upper()}/").json()["id"] == str(node.pk)
    assert operator.get(f"model/{str(job.model_id).upper()}/").json()["id"] == str(job.model_id)


def test_a_name_belongs_to_one_model(owner: Caller, operator: Caller) -> None:
    operator.post("model/", {"params": VIEW, "name": "valley"})
    other = owner.post("model/", {"params": {**VIEW, "max_iter": 65}}).json()

    assert "name" in problem(operator.patch(f"model/{other['id']}/", {"name": "valley"}), 422, "invalid")["errors"]
    assert RenderModel.objects.get(pk=other["id"]).name is None


def test_the_palettes_are_listed_with_their_stops(owner: Caller) -> None:
    palettes = owner.get("palette/").json()

    names = [palette["name"] for palette in palettes]
    assert names[: len(PALETTES)] == list(PALETTES)
    assert {"viridis", "magma", "inferno", "plasma", "cividis", "twilight", "batlow", "romaO"} < set(names)
    assert palettes[0]["stops"][0] == [0.0, "#000000"]
    assert all(palette["origin"] for palette in palettes)
    viridis, twilight = palettes[names.index("viridis")], palettes[names.index("twilight")]
    assert (viridis["license"], viridis["cyclic"], twilight["cyclic"]) == ("CC0", False, True)
    assert "Stefan van der Walt" in viridis["origin"]


@pytest.mark.parametrize("text", ["NOEQUALS", "A=1 B", "1A=2", "=x"])
def test_variables_are_names_with_values(farm: Farm, operator: Caller, text: str) -> None:
    refused = problem(operator.patch("resource/mandelbrot/", {"environment_variables": text}), 422, "invalid")
    assert "NAME=VALUE" in refused["errors"]["environment_variables"][0]
    assert Resource.objects.get().environment_variables == ""


def test_variables_from_before_may_be_sent_again_as_they_are(farm: Farm, operator: Caller) -> None:
    Resource.objects.update(environment_variables="NOEQUALS")
    body = {"environment_variables": "NOEQUALS", "name": "M"}
    assert operator.patch("resource/mandelbrot/", body).status_code == 200


def test_a_value_with_blanks_is_hidden_whole(farm: Farm, operator: Caller, stranger: Caller) -> None:
    operator.patch("resource/mandelbrot/", {"environment_variables": "PHRASE='correct horse' MODE=fast"})
    assert stranger.get("resource/mandelbrot/").json()["environment_variables"] == "PHRASE=… MODE=…"
