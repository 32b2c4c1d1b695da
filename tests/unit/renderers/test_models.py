"""The list of held models."""

from renderers.models import HeldModels


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
