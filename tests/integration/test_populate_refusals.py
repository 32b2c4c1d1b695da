"""What `manage.py populate` refuses: every complaint at once, with its place, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

from tests.integration.test_populate import SITE, VALLEY, populate, rows, write

__all__ = ["write"]

pytestmark = pytest.mark.django_db

BAD_FILES = {
    "not yaml": ("sites: {a: [", "farm.yaml:1: Not YAML"),
    "not a mapping": ("- sites", "Must hold sections"),
    "unknown section": (SITE + "clouds: {}", "farm.yaml:2: clouds: There is no such section"),
    "section without ids": ("sites: [here]", "farm.yaml:1: sites: Must hold ids"),
    "id without fields": ("sites:\n  here: 5", "farm.yaml:2: sites.here: Must hold fields"),
    "repeated key": ("sites:\n  a: {}\n  a: {}", "farm.yaml:3: sites.a: Stands here twice"),
    "key that is no word": ("sites: {[a]: {}}", "A key must be a plain word"),
    "contains itself": ("sites: &s {a: *s}", "Nested too deeply"),
    "foreign tag": ("sites: !!python/object:os.system {}", "farm.yaml:1: sites: Must not have the tag"),
    "impossible date": ("tokens: {t: {expires_at: 2030-02-31}}", "tokens.t.expires_at: Cannot be read"),
    "unknown field": ("sites:\n  here:\n    colour: red", "farm.yaml:3: sites.here.colour: There is no such field"),
    "bad slug": ("sites: {'a b': {}}", "sites.a b: Use lower-case letters"),
    "bad colour": ("sites: {here: {color: red}}", "sites.here.color: Use a colour like"),
    "bad choice": ("sites: {here: {kind: cloud}}", "sites.here.kind: Value 'cloud' is not a valid choice"),
    "number as text": ("sites: {here: {max_nodes: '2'}}", "sites.here.max_nodes: Must be a whole number"),
    "flag as number": ("sites: {here: {enabled: 1}}", "sites.here.enabled: Must be true or false"),
    "truth as number": ("sites: {here: {max_nodes: true}}", "sites.here.max_nodes: Must be a whole number"),
    "text as number": ("sites: {here: {name: 5}}", "sites.here.name: Must be a text"),
    "capabilities as text": ("sites: {here: {capabilities: gpu}}", "sites.here.capabilities: Must be a list of texts"),
    "bad capability": ("sites: {here: {capabilities: [GPU]}}", "sites.here.capabilities: Must be a list of at most 20"),
    "negative": ("sites: {here: {max_nodes: -1}}", "sites.here.max_nodes: Ensure this value"),
    "null": ("sites: {here: {max_nodes: null}}", "sites.here.max_nodes: Must be a whole number"),
    "unknown site": (SITE + "resources: {r: {sites: [there]}}", "resources.r.sites: There is no site 'there'"),
    "site twice": (SITE + "resources: {r: {sites: [here, here]}}", "resources.r.sites: Names a site twice"),
    "sites as text": (SITE + "resources: {r: {sites: here}}", "resources.r.sites: Must be a list of site ids"),
    "list of numbers": ("resources: {r: {extra_directives: [5]}}", "extra_directives: Must be a list of texts"),
    "least beyond most": (
        "resources: {r: {min_nodes: 3, max_nodes: 2}}",
        r"resources\.r\.min_nodes: Must not be more than max_nodes\.",
    ),
    "bad parameter": (
        "models: {m: {params: {center: [0, 0], radius: -1, max_iter: 5}}}",
        "models.m.params.radius: Must be",
    ),
    "no parameters": ("models: {m: {}}", "models.m.params: Give an object"),
    "unknown renderer": (
        "models: {m: {renderer: julia, params: " + VALLEY + "}}",
        "models.m.renderer: The only renderer",
    ),
    "bad model name": ("models: {Big: {params: " + VALLEY + "}}", "models.Big: Use lower-case"),
    "two names": (
        "models: {a: {params: " + VALLEY + "}, b: {params: " + VALLEY + "}}",
        "models.b: The same parameters",
    ),
    "pinned as text": (
        "models: {m: {pinned: 'yes', params: " + VALLEY + "}}",
        "models.m.pinned: Must be true or false",
    ),
    "password in the file": ("users: {ada: {password: secret}}", "users.ada.password: There is no such field"),
    "no such variable": (
        "users: {ada: {password_env: NO_SUCH}}",
        "users.ada.password_env: The variable NO_SUCH is empty",
    ),
    "no such password file": ("users: {ada: {password_file: gone.txt}}", "users.ada.password_file: Cannot read"),
    "both references": ("users: {ada: {password_file: a, password_env: B}}", "users.ada: Give either"),
    "bad email": ("users: {ada: {email: nowhere}}", "users.ada.email: Enter a valid email"),
    "bad user name": ("users: {'a b': {}}", "users.a b: Enter a valid username"),
    "staff as text": ("users: {ada: {staff: 'yes'}}", "users.ada.staff: Must be true or false"),
    "unknown user": (
        "tokens: {t: {user: eve, scopes: [read], secret_file: t}}",
        "tokens.t.user: There is no user 'eve'",
    ),
    "unknown scope": (
        "users: {u: {}}\ntokens: {t: {user: u, scopes: [root], secret_file: t}}",
        "tokens.t.scopes: Must be a list",
    ),
    "file outside": (
        "users: {u: {}}\ntokens: {t: {user: u, scopes: [read], secret_file: ../t}}",
        "t.secret_file: Name a file",
    ),
    "no file": ("users: {u: {}}\ntokens: {t: {user: u, scopes: [read]}}", "tokens.t.secret_file: Name a file"),
    "expired": (
        "users: {u: {}}\ntokens: {t: {user: u, scopes: [read], secret_file: t, expires_at: 2001-01-01T00:00:00Z}}",
        "tokens.t.expires_at: Must be in the future",
    ),
    "no instant": (
        "users: {u: {}}\ntokens: {t: {user: u, scopes: [read], secret_file: t, expires_at: soon}}",
        "tokens.t.expires_at: Must be a time like",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_the_place_and_writes_nothing(write: Any, case: str) -> None:
    text, complaint = BAD_FILES[case]
    before = rows()

    with pytest.raises(CommandError, match=complaint) as caught:
        populate(write(text))

    assert caught.value.returncode == 1
    assert str(caught.value).startswith("Nothing was written.")
    assert rows() == before


def test_all_complaints_come_at_once_in_the_order_of_the_file(write: Any) -> None:
    text = "sites:\n  here:\n    color: red\n    kind: cloud\nresources:\n  r:\n    sites: [gone]\n"

    with pytest.raises(CommandError) as caught:
        populate(write(text))

    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines[1:]] == ["3", "4", "7"]


def test_a_weak_password_is_refused(write: Any, tmp_path: Path) -> None:
    (tmp_path / "weak.txt").write_text("password")

    with pytest.raises(CommandError, match=r"users\.ada: This password is too"):
        populate(write("users: {ada: {password_file: weak.txt}}"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "farm.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CommandError, match=r"Cannot read .*farm\.yaml"):
        populate(path)
