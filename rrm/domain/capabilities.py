"""What sites can do, as tags that operators give them, and what of it work requires."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

MOST_TAGS = 20
LONGEST_TAG = 40
_TAG = re.compile(r"[a-z0-9][a-z0-9._-]*")
_FORM = (
    f"Must be a list of at most {MOST_TAGS} tags, each of 1 to {LONGEST_TAG} lower-case letters, digits, '.', '_' and"
    " '-', beginning with a letter or digit."
)


def parse(value: object) -> list[str]:
    """The tags in a list, sorted, each once. Raises ValueError, which says of what form they have to be."""
    tags = value if isinstance(value, list) else [None]
    if not all(isinstance(tag, str) and len(tag) <= LONGEST_TAG and _TAG.fullmatch(tag) for tag in tags):
        raise ValueError(_FORM)
    if len(found := sorted(set(tags))) > MOST_TAGS:
        raise ValueError(_FORM)
    return found


def index(requires: Iterable[str]) -> str:
    """As |a||b|: what is left when each tag on offer is taken out, with its bars, is not on offer."""
    return "".join(f"|{tag}|" for tag in requires)


def tags_of(index: str) -> list[str]:
    """Those that `index` was made of."""
    return [tag for tag in index.split("|") if tag] if index else []


def lacking(requires: Iterable[str], offered: Collection[str]) -> list[str]:
    return [tag for tag in requires if tag not in offered]


def able(
    named: Collection[str], requires: Collection[str], offers: Mapping[str, Collection[str]]
) -> frozenset[str] | None:
    """The sites that may render a job: of those it names, or all, those that have what it requires; None is any.

    `offers` has what each site of its resource can do.
    """
    if not requires:
        return frozenset(named) or None
    return frozenset(site for site in named or offers if site in offers and not lacking(requires, offers[site]))


def listed(tags: Collection[str]) -> str:
    """For a sentence: "gpu", or "a, b and c"."""
    *first, last = tags
    return f"{', '.join(first)} and {last}" if first else last
