"""Bearer tokens of people, programs and nodes: 256 random bits, known to the database by their SHA-256 alone."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils import timezone

from rrm.domain.states import NODE_CHECKED_IN
from rrm.errors import Invalid
from rrm.farm import statements
from rrm.farm.kept import Kept
from rrm.farm.models import Node, Site, Token

SCOPES = ("read", "render", "operate")

_SECRET = re.compile(r"rrm_[A-Za-z0-9_-]{43}")  # what `_new_secret` makes
_PREFIX_LENGTH = 12  # "rrm_" and 8 characters: enough to recognise a token, of no use to guess it
_USE_RESOLUTION = timedelta(minutes=1)


def issue(user: User, name: str, scopes: Iterable[str], expires_at: datetime | None = None) -> tuple[Token, str]:
    """A new token of `user` and its secret, which cannot be had again. Raises Invalid."""
    name, wanted = name.strip(), set(scopes)
    errors = {}
    if not 0 < len(name) <= 100:
        errors["name"] = ["Give a name of at most 100 characters."]
    if not wanted or not wanted <= set(SCOPES):
        errors["scopes"] = [f"Name one or more of {', '.join(SCOPES)}."]
    if expires_at is not None and expires_at <= timezone.now():
        errors["expires_at"] = ["Must be in the future."]
    if errors:
        raise Invalid(errors)
    secret = _new_secret()
    token = Token.objects.create(
        user=user,
        name=name,
        prefix=secret[:_PREFIX_LENGTH],
        digest=digest_of(secret),
        scopes=[scope for scope in SCOPES if scope in wanted],
        expires_at=expires_at,
    )
    return token, secret


def authenticate(secret: str) -> Token | None:
    """The token that `secret` belongs to, with its user; None when unknown, expired, or the user is inactive."""
    token = in_force().select_related("user").filter(digest=digest_of(secret), user__is_active=True).first()
    if token is not None:
        _note_use(token, timezone.now())
    return token


def in_force() -> QuerySet[Token]:
    """The tokens that have not expired."""
    return Token.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


def node_of(secret: str) -> Node | None:
    """The node that was given `secret` when it checked in, with its site, as long as it is there."""
    node = calling(token_digest=digest_of(secret))
    return node if node is not None and node.state in NODE_CHECKED_IN else None


def calling(**where: Any) -> Node | None:
    """The node whose columns have these values, with its site as it was lately; None if there is none."""
    node = statements.first(Node, **where)
    if node is not None:
        node.site = _sites.get(node.site_id)
    return node


_sites: Kept[str, Site] = Kept(lambda id: statements.get(Site, pk=id))


def is_secret(text: str) -> bool:
    """Whether this could be a secret of ours at all: what is not needs no look into the database."""
    return _SECRET.fullmatch(text) is not None


def new_node_secret() -> tuple[str, str]:
    """A secret for a node and the digest that its row keeps."""
    secret = _new_secret()
    return secret, digest_of(secret)


def digest_of(secret: str) -> str:
    """What is stored instead of a secret. A plain hash is enough for 256 random bits: nobody can try them all."""
    return hashlib.sha256(secret.encode()).hexdigest()


def keep_secret(path: Path, secret: str) -> None:
    """Write a file that its owner alone can read; a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    draft.replace(path)


def _new_secret() -> str:
    return "rrm_" + secrets.token_urlsafe(32)


def _note_use(token: Token, now: datetime) -> None:
    """Remember when a token was used last, to the minute: reading must not cost a write each time."""
    if token.last_used_at is None or token.last_used_at < now - _USE_RESOLUTION:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
        token.last_used_at = now
