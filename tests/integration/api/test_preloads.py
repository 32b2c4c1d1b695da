"""POST, GET and DELETE model/{id}/preload."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from rrm.farm.models import HeldModel, Preload, RenderModel
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.farm.conftest import Farm


def test_an_order_is_accepted_with_what_there_is_of_it(farm: Farm, operator: Caller) -> None:
    model = make.render_model()
    farm.node()
    answer = operator.post(f"model/{model.pk}/preload", {"resource": "mandelbrot", "nodes": 2})

    assert answer.status_code == 202
    body = answer.json()
    assert body.pop("until") > timezone.now().isoformat()
    assert body.pop("owner")
    assert body == {
        "model": str(model.pk),
        "resource": "mandelbrot",
        "nodes": 2,
        "holding": 0,
        "loading": 0,
        "starting": 0,
        "reason": "0 of 2 hold it, 0 load it; the next nodes that are free follow; a node is to be started for it.",
    }
    assert [each["nodes"] for each in operator.get(f"model/{model.pk}/preload").json()] == [2]
    assert operator.delete(f"model/{model.pk}/preload?resource=mandelbrot").status_code == 204
    assert not Preload.objects.exists()


def test_the_farm_shows_all_orders_and_names_models_only_to_those_who_may_see_them(
    farm: Farm, owner: Caller, stranger: Caller
) -> None:
    secret, known = farm.submit().model, make.render_model(max_iter=9)
    RenderModel.objects.filter(pk=known.pk).update(name="valley")
    for model in (secret, known):
        make.preload(farm.owner, farm.resource, model, 2)
    HeldModel.objects.create(node=farm.node(), model=secret)

    first, second = owner.get("farm/").json()["preloads"]
    unseen, seen = stranger.get("farm/").json()["preloads"]

    assert (first["model"], first["name"], first["owner"]) == (str(secret.pk), None, "ada")
    assert (first["holding"], first["loading"], first["nodes"], first["resource"]) == (1, 0, 2, "mandelbrot")
    assert first["reason"] == "1 of 2 hold it, 0 load it; a node is to be started for it."
    assert (second["name"], second["holding"]) == ("valley", 0)
    assert unseen == first | {"model": None, "name": None, "owner": None}
    assert seen == second


def test_without_any_node_one_is_to_be_started(farm: Farm, operator: Caller) -> None:
    answer = operator.post(f"model/{make.render_model().pk}/preload", {"resource": "mandelbrot"})
    assert answer.json()["reason"] == "0 of 1 hold it, 0 load it; a node is to be started for it."


def test_twice_is_the_same_as_once(farm: Farm, operator: Caller) -> None:
    model = make.render_model()
    for count in (1, 3, 2):
        operator.post(f"model/{model.pk}/preload", {"resource": "mandelbrot", "nodes": count})
    assert [order.nodes for order in Preload.objects.all()] == [2]


def test_what_cannot_be_is_refused_field_by_field(farm: Farm, operator: Caller) -> None:
    model = make.render_model()
    there = f"model/{model.pk}/preload"
    late = (timezone.now() + timedelta(days=30)).isoformat()
    for body, fields in (
        ({}, {"resource"}),
        ({"resource": "nowhere", "nodes": 1}, {"resource"}),
        ({"resource": "mandelbrot", "nodes": 0}, {"nodes"}),
        ({"resource": "mandelbrot", "nodes": 51, "until": late}, {"nodes", "until"}),
        ({"resource": "mandelbrot", "node": 1}, {"node"}),
    ):
        assert problem(operator.post(there, body), 422, "invalid")["errors"].keys() == fields
    farm.resource.enabled = False
    farm.resource.save()
    assert problem(operator.post(there, {"resource": "mandelbrot"}), 422, "invalid")["errors"].keys() == {"resource"}
    problem(operator.delete(f"{there}?resource=mandelbrot"), 404, "not-found")
    problem(operator.delete(there), 422, "invalid")


def test_a_model_that_nobody_may_load_is_refused(farm: Farm, operator: Caller) -> None:
    model = make.render_model()
    RenderModel.objects.update(quarantined_until=timezone.now() + timedelta(minutes=5))
    problem(operator.post(f"model/{model.pk}/preload", {"resource": "mandelbrot"}), 409, "state-conflict")


def test_others_models_are_not_found_and_others_orders_not_withdrawn(farm: Farm, operator: Caller) -> None:
    model, reader = make.render_model(), make.caller(make.person())
    problem(reader.post(f"model/{model.pk}/preload", {"resource": "mandelbrot"}), 404, "not-found")
    RenderModel.objects.update(name="known")
    operator.post("model/known/preload", {"resource": "mandelbrot"})
    problem(reader.delete("model/known/preload?resource=mandelbrot"), 403, "forbidden")
    only_reads = make.caller(make.person(), "read")
    problem(only_reads.post("model/known/preload", {"resource": "mandelbrot"}), 403, "forbidden")
