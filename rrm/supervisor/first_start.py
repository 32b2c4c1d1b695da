"""Fills a data folder: database, operator with password and token, registered sites and resources. Safe to repeat."""

from __future__ import annotations

import secrets
from pathlib import Path

from django.contrib.auth.models import User
from django.core.management import call_command

from rrm.farm.tokens import SCOPES, authenticate, issue, keep_secret

OPERATOR = "operator"


def prepare(data_dir: Path) -> None:
    """Bring the database up to date and make sure the operator can log in and call the API."""
    call_command("migrate", interactive=False, verbosity=0)
    ensure_operator(data_dir / "operator.password")
    ensure_token(data_dir / "operator.token")
    call_command("populate", verbosity=0)


def ensure_operator(password_file: Path) -> None:
    """The operator's account exists. Its first password is in the file; one changed later is left alone."""
    if User.objects.filter(username=OPERATOR).exists():
        return
    password = secrets.token_urlsafe(12)
    keep_secret(password_file, password)  # before the account: a crash in between leaves nothing unusable
    User.objects.create_superuser(OPERATOR, password=password)


def ensure_token(token_file: Path) -> None:
    """The file holds a token of the operator that the API accepts; a lost, expired or revoked one is replaced."""
    if token_file.exists() and authenticate(token_file.read_text().strip()):
        return
    _, secret = issue(User.objects.get(username=OPERATOR), token_file.name, SCOPES)
    keep_secret(token_file, secret)
