"""Tokens: the secret is known to its holder alone, and opens no more than it should."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.forms.models import model_to_dict
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from rrm.domain.states import NODE_CHECKED_IN, NodeState
from rrm.errors import Invalid
from rrm.farm import demo, jobs, tokens
from rrm.farm.models import Job, Node, RenderModel, Token
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


def test_a_secret_opens_the_token_it_was_issued_with(ada: User) -> None:
    token, secret = tokens.issue(ada, "laptop", ["render", "read"])

    found = tokens.authenticate(secret)

    assert found == token
    assert found.user == ada
    assert found.scopes == ["read", "render"]


def test_a_secret_is_long_recognisable_and_not_stored(ada: User) -> None:
    token, secret = tokens.issue(ada, "laptop", ["read"])

    assert secret.startswith("rrm_")
    assert len(secret) == len("rrm_") + 43  # 256 bits in base 64
    assert 8 <= len(token.prefix) <= 12
    assert secret.startswith(token.prefix)
    assert secret not in str(model_to_dict(token)) + token.digest


def test_two_secrets_are_never_alike(ada: User) -> None:
    secrets = {tokens.issue(ada, "same name", ["read"])[1] for _ in range(20)}

    assert len(secrets) == 20


@pytest.mark.parametrize("secret", ["", "rrm_", "x" * 47])
def test_an_unknown_secret_opens_nothing(ada: User, secret: str) -> None:
    tokens.issue(ada, "laptop", ["read"])

    assert tokens.authenticate(secret) is None


def test_an_expired_token_opens_nothing(ada: User) -> None:
    token, secret = tokens.issue(ada, "laptop", ["read"], timezone.now() + timedelta(hours=1))
    assert tokens.authenticate(secret) == token

    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert tokens.authenticate(secret) is None


def test_the_token_of_an_inactive_user_opens_nothing(ada: User) -> None:
    _, secret = tokens.issue(ada, "laptop", ["read"])
    User.objects.update(is_active=False)

    assert tokens.authenticate(secret) is None


def test_use_is_noted_at_most_once_a_minute(ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    token, secret = tokens.issue(ada, "laptop", ["read"])

    tokens.authenticate(secret)
    token.refresh_from_db()
    first = token.last_used_at
    with django_assert_num_queries(1):
        tokens.authenticate(secret)
    Token.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    tokens.authenticate(secret)

    token.refresh_from_db()
    assert first is not None
    assert token.last_used_at is not None
    assert token.last_used_at > first


@pytest.mark.parametrize(
    ("name", "scopes", "age", "field"),
    [
        ("", ["read"], None, "name"),
        ("x" * 101, ["read"], None, "name"),
        ("laptop", [], None, "scopes"),
        ("laptop", ["read", "root"], None, "scopes"),
        ("laptop", ["read"], timedelta(seconds=1), "expires_at"),
    ],
)
def test_what_cannot_be_issued_is_named(
    ada: User, name: str, scopes: list[str], age: timedelta | None, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        tokens.issue(ada, name, scopes, timezone.now() - age if age else None)

    assert list(caught.value.errors) == [field]
    assert not Token.objects.exists()


@pytest.mark.parametrize("state", NodeState)
def test_a_node_secret_is_good_while_the_node_is_there(state: NodeState) -> None:
    node = Farm().node()
    secret, digest = tokens.new_node_secret()
    Node.objects.update(token_digest=digest, state=state)

    assert tokens.node_of(secret) == (node if state in NODE_CHECKED_IN else None)


def test_a_secret_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "below" / "token"
    tokens.keep_secret(path, "old")

    tokens.keep_secret(path, "new")

    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


class TestTheOperator:
    def test_gets_a_password_and_a_token(self, tmp_path: Path) -> None:
        demo.ensure_operator(tmp_path)

        user = User.objects.get(username="operator")
        token = tokens.authenticate((tmp_path / "operator.token").read_text().strip())
        assert user.check_password((tmp_path / "operator.password").read_text().strip())
        assert user.is_superuser
        assert token
        assert (token.user, token.scopes) == (user, ["read", "render", "operate"])
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}

    def test_keeps_them_when_all_is_well(self, tmp_path: Path) -> None:
        demo.ensure_operator(tmp_path)
        before = {path.name: path.read_text() for path in tmp_path.iterdir()}

        demo.ensure_operator(tmp_path)

        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
        assert Token.objects.count() == 1

    def test_keeps_a_password_that_was_changed(self, tmp_path: Path) -> None:
        demo.ensure_operator(tmp_path)
        user = User.objects.get(username="operator")
        user.set_password("chosen by hand")
        user.save()

        demo.ensure_operator(tmp_path)

        user.refresh_from_db()
        assert user.check_password("chosen by hand")

    @pytest.mark.parametrize("lost", ["operator.password", "operator.token"])
    def test_gets_a_new_one_for_a_file_that_was_deleted(self, tmp_path: Path, lost: str) -> None:
        demo.ensure_operator(tmp_path)
        before = (tmp_path / lost).read_text().strip()
        (tmp_path / lost).unlink()

        demo.ensure_operator(tmp_path)

        after = (tmp_path / lost).read_text().strip()
        assert after != before
        user = User.objects.get(username="operator")
        assert user.check_password((tmp_path / "operator.password").read_text().strip())
        assert tokens.authenticate((tmp_path / "operator.token").read_text().strip())
        assert tokens.authenticate(before) is None
        assert Token.objects.count() == 1

    @pytest.mark.parametrize("model", [User, Token])
    def test_gets_them_back_after_a_row_was_deleted(self, tmp_path: Path, model: type[User | Token]) -> None:
        demo.ensure_operator(tmp_path)
        model._default_manager.all().delete()

        demo.ensure_operator(tmp_path)

        user = User.objects.get(username="operator")
        assert user.check_password((tmp_path / "operator.password").read_text().strip())
        assert tokens.authenticate((tmp_path / "operator.token").read_text().strip())


class TestTheFirstJob:
    @pytest.fixture(autouse=True)
    def operator(self, tmp_path: Path) -> None:
        demo.ensure_operator(tmp_path)

    def test_is_submitted_once_in_the_life_of_a_database(self) -> None:
        farm = Farm()
        farm.submit(params={"viewport": [-2, 1, -1, 1], "fit": "expand", "max_iter": 50}, name="to name a model")
        Job.objects.get().delete()
        model = RenderModel.objects.get()
        RenderModel.objects.update(name="valley")

        job = demo.submit_demo()

        assert job
        assert (job.model, job.owner.username, job.outputs) == (model, "operator", ["png", "counts"])
        assert demo.submit_demo() is None
        jobs.cancel(job, "operator")
        job.delete()
        assert demo.submit_demo() is None

    def test_needs_something_to_render(self) -> None:
        assert demo.submit_demo() is None
        assert not Job.objects.exists()
