"""Fills a data folder: database, operator with password and token, registered sites and resources. Safe to repeat."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command

from rrm.farm.models import Token

OPERATOR = "operator"
_SCOPES = ["read", "render", "operate"]


def prepare(data_dir: Path) -> None:
    """Bring the database up to date and make sure the operator can log in and call the API."""
    call_command("migrate", interactive=False, verbosity=0)
    ensure_operator(data_dir / "operator.password")
    ensure_token(data_dir / "operator.token")
    call_command("populate", verbosity=0)


def ensure_operator(password_file: Path) -> None:
    """The operator's account exists. Its first password is in the file; one changed later is left alone."""
    users = get_user_model().objects
    if users.filter(username=OPERATOR).exists():
        return
    password = secrets.token_urlsafe(12)
    write_secret(password_file, password)  # before the account: a crash in between leaves nothing unusable
    users.create_superuser(OPERATOR, password=password)


def ensure_token(token_file: Path) -> None:
    """The file holds a token of the operator that the API accepts; a lost or revoked one is replaced."""
    if token_file.exists() and Token.objects.filter(digest=_digest(token_file.read_text().strip())).exists():
        return
    secret = secrets.token_urlsafe(32)
    write_secret(token_file, secret)
    Token.objects.create(
        user=get_user_model().objects.get(username=OPERATOR),
        name="operator.token",
        prefix=secret[:8],
        digest=_digest(secret),
        scopes=_SCOPES,
    )


def write_secret(path: Path, secret: str) -> None:
    """Write a file that only its owner can read; a reader sees the old content or the new, never a part."""
    draft = path.with_name(f".{path.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret + "\n")
    draft.replace(path)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
