"""What sites can do, and what work requires of them."""

from __future__ import annotations

import pytest

from rrm.domain import capabilities

OFFERS = {"gpu-site": ["avx512", "gpu"], "plain": []}


def test_tags_are_sorted_and_each_is_kept_once() -> None:
    assert capabilities.parse(["v2.1", "gpu", "gpu", "0-a_b"]) == ["0-a_b", "gpu", "v2.1"]
    assert capabilities.parse([]) == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        "gpu",
        {"gpu": 1},
        ("gpu",),
        [1],
        [None],
        [""],
        ["GPU"],
        ["-gpu"],
        ["a b"],
        ["a|b"],
        ["a\n"],
        ["é"],
        ["x" * 41],
    ],
)
def test_what_is_no_list_of_tags_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="at most 20 tags, each of 1 to 40"):
        capabilities.parse(value)


def test_there_may_be_twenty_tags_of_forty_characters() -> None:
    tags = [f"{number:02}".ljust(40, "x") for number in range(21)]
    assert capabilities.parse(tags[:20]) == tags[:20]
    with pytest.raises(ValueError, match="at most 20 tags"):
        capabilities.parse(tags)


def test_work_without_requirements_goes_where_it_is_named_or_anywhere() -> None:
    assert capabilities.able([], [], OFFERS) is None
    assert capabilities.able(["plain", "elsewhere"], [], OFFERS) == frozenset({"plain", "elsewhere"})


@pytest.mark.parametrize(
    ("named", "requires", "able"),
    [
        ([], ["gpu"], {"gpu-site"}),
        ([], ["avx512", "gpu"], {"gpu-site"}),
        ([], ["gpu", "mpi"], set()),
        (["plain"], ["gpu"], set()),
        (["plain", "gpu-site"], ["gpu"], {"gpu-site"}),
        (["elsewhere"], ["gpu"], set()),
    ],
)
def test_work_with_requirements_goes_where_all_of_them_are_met(
    named: list[str], requires: list[str], able: set[str]
) -> None:
    assert capabilities.able(named, requires, OFFERS) == frozenset(able)


def test_tags_are_listed_as_in_a_sentence() -> None:
    assert capabilities.listed(["gpu"]) == "gpu"
    assert capabilities.listed(["a", "b", "c"]) == "a, b and c"
