"""The list of held models, and loading deep ones."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renderers import models as module
from renderers.mandelbrot.deep import model as deep
from renderers.mandelbrot.deep.model import DeepModel
from renderers.mandelbrot.deep.orbit import OrbitInterrupted, reference_orbit
from renderers.mandelbrot.deep.storage import OrbitFolder
from renderers.models import HeldModels
from tests.unit.renderers.deep.places import MINIBROT
from tests.unit.renderers.deep.precise import place

REFERENCE, VIEW = place(MINIBROT, "1e-49", (16, 16), 2000)
STEPS_OF_A_MINUTE = 10_000_000


def test_the_first_load_of_a_model_is_told() -> None:
    models = HeldModels()
    models.note("a", 2.0, 100)
    models.note("a", 0.001, 100)
    assert models.as_json() == [{"digest": "a", "load_seconds": 2.0, "size_bytes": 100}]


def test_the_model_unused_for_longest_makes_room() -> None:
    models = HeldModels(limit=2)
    for digest in ("a", "b", "a", "c"):
        models.note(digest, 0.0, 1)
    assert models.digests() == ["a", "c"]


def test_a_pinned_model_never_makes_room() -> None:
    models = HeldModels(limit=2)
    models.pin(["a"])
    for digest in ("a", "b", "c", "d"):
        models.note(digest, 0.0, 1)
    assert models.digests() == ["a", "d"]
    models.pin([])
    models.note("e", 0.0, 1)
    assert models.digests() == ["d", "e"]


def test_a_pinned_deep_model_never_makes_room() -> None:
    models = HeldModels(memory=1)
    models.pin(["digest"])
    models.load(REFERENCE, VIEW)
    for digest in ("other", "third"):
        models.load(replace(REFERENCE, digest=digest), VIEW)
    assert models.digests() == ["digest", "third"]


def test_a_deep_model_is_told_with_what_it_took() -> None:
    models = HeldModels()
    model = models.load(REFERENCE, VIEW)
    (told,) = models.as_json()
    assert told == {"digest": "digest", "load_seconds": model.load_seconds, "size_bytes": model.size_bytes}
    assert told["size_bytes"] > 16 * REFERENCE.max_iter
    assert told["load_seconds"] > 0.0
    assert models.load(REFERENCE, VIEW) is model


def test_leases_that_want_a_model_at_the_same_time_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    genuine = reference_orbit

    def slow(*arguments: Any) -> Any:
        computed.append("once")
        time.sleep(0.1)
        return genuine(*arguments)

    monkeypatch.setattr(deep, "reference_orbit", slow)
    models, found = HeldModels(), list[DeepModel]()
    threads = [threading.Thread(target=lambda: found.append(models.load(REFERENCE, VIEW))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == ["once"]
    assert len(set(map(id, found))) == 1


def test_a_load_that_fails_fails_for_all_who_wait_and_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    models, met = HeldModels(), list[str]()
    genuine = reference_orbit

    def fail(*_: Any) -> Any:
        time.sleep(0.1)
        raise MemoryError("no room")

    def attempt() -> None:
        try:
            models.load(REFERENCE, VIEW)
        except MemoryError as error:
            met.append(str(error))

    monkeypatch.setattr(deep, "reference_orbit", fail)
    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == ["no room"] * 3
    monkeypatch.setattr(deep, "reference_orbit", genuine)
    assert models.load(REFERENCE, VIEW).orbit.last == 2000


def test_loaded_models_stay_within_the_memory_and_the_newest_always_stays() -> None:
    size = HeldModels().load(REFERENCE, VIEW).size_bytes
    models = HeldModels(memory=int(2.5 * size))
    models.note("shallow", 0.0, 1)
    for digest in "abac":
        models.load(replace(REFERENCE, digest=digest), VIEW)
    assert models.digests() == ["shallow", "a", "c"]
    small = HeldModels(memory=1)
    for digest in "ab":
        small.load(replace(REFERENCE, digest=digest), VIEW)
    assert small.digests() == ["b"]


def test_an_orbit_that_took_long_is_read_by_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 0.0)
    HeldModels(folder=OrbitFolder(tmp_path, 1 << 30)).load(REFERENCE, VIEW)
    monkeypatch.delattr(deep, "reference_orbit")
    assert HeldModels(folder=OrbitFolder(tmp_path, 1 << 30)).load(REFERENCE, VIEW).orbit.last == 2000


def test_a_load_ends_soon_when_the_node_leaves() -> None:
    models = HeldModels()
    endless, view = place(("-1", "0"), "1e-300", (4, 4), STEPS_OF_A_MINUTE)
    outcome: list[BaseException] = []

    def load() -> None:
        try:
            models.load(endless, view)
        except OrbitInterrupted as interruption:
            outcome.append(interruption)

    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(0.05)
    models.close()
    thread.join(60.0)
    assert len(outcome) == 1
