"""Users and their tokens of a document, compared with the rows there are. Secrets come and go by reference only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils import timezone

from rrm.farm import tokens as issuing
from rrm.farm.models import Token
from rrm.farm.populating.document import Values
from rrm.farm.populating.plan import Change, Check, inside

_USER_FIELDS = ("email", "first_name", "last_name", "staff", "operator", "password_file", "password_env")
_TOKEN_FIELDS = ("user", "scopes", "secret_file", "expires_at")
_FLAGS = ("staff", "operator")
_HIDDEN = "•••"

_Differences = dict[str, tuple[Any, Any]]


def users(check: Check) -> list[Change]:
    rows = {user.username: user for user in User.objects.all()}
    return [_user(check, name, values, rows.get(name)) for name, values in check.document.section("users").items()]


def tokens(check: Check) -> list[Change]:
    known = {*User.objects.values_list("username", flat=True), *check.document.section("users")}
    return [_token(check, name, values, known) for name, values in check.document.section("tokens").items()]


def _user(check: Check, name: str, values: Values, old: User | None) -> Change:
    where = f"users.{name}"
    row = old or User(username=name)
    is_known = check.has_only(where, values, _USER_FIELDS)
    wanted = _columns(check, where, values) if is_known else {}
    fields: _Differences = {
        column: (getattr(row, column) if old else None, value)
        for column, value in wanted.items()
        if old is None or getattr(row, column) != value
    }
    for column, value in wanted.items():
        setattr(row, column, value)
    password = _password(check, where, values)
    if (
        password is not None
        and _is_acceptable(check, where, row, password)
        and not check_password(password, row.password)
    ):
        fields["password"] = (_HIDDEN if old else None, _HIDDEN)
        row.set_password(password)
    elif old is None:
        row.set_unusable_password()
    try:
        row.full_clean(validate_unique=False)
    except ValidationError as error:
        for column, messages in error.message_dict.items():
            check.complain(where if column == "username" else f"{where}.{column}", " ".join(messages))
    return Change("user", name, old is None, fields, row.save)


def _columns(check: Check, where: str, values: Values) -> dict[str, Any]:
    """The columns of a user's row that the entry names. An operator may do everything, and enter the admin pages."""
    found: dict[str, Any] = {}
    for field, value in values.items():
        if field in _FLAGS and not isinstance(value, bool):
            check.complain(f"{where}.{field}", "Must be true or false.")
        elif field not in _FLAGS and not isinstance(value, str):
            check.complain(f"{where}.{field}", "Must be a text (put it in quotes).")
        elif field == "operator":
            found["is_superuser"] = value
            found["is_staff"] = value or values.get("staff") is True
        elif field == "staff":
            found["is_staff"] = value or values.get("operator") is True
        elif field not in ("password_file", "password_env"):
            found[field] = value
    return found


def _password(check: Check, where: str, values: Values) -> str | None:
    """The password that the entry refers to; None when it refers to none, or, with a complaint, to nothing."""
    variable, file = values.get("password_env"), values.get("password_file")
    if isinstance(variable, str) and isinstance(file, str):
        check.complain(where, "Give either password_file or password_env, not both.")
    elif isinstance(variable, str):
        return _complete(
            check, f"{where}.password_env", os.environ.get(variable, ""), f"The variable {variable} is empty."
        )
    elif isinstance(file, str):
        return _password_in(check, f"{where}.password_file", check.document.path.parent / file)
    return None


def _password_in(check: Check, where: str, path: Path) -> str | None:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        check.complain(where, f"Cannot read {path}: {getattr(error, 'strerror', None) or 'not a text'}.")
        return None
    return _complete(check, where, text, f"The file {path} is empty.")


def _complete(check: Check, where: str, password: str, message: str) -> str | None:
    if not password:
        check.complain(where, message)
    return password or None


def _is_acceptable(check: Check, where: str, row: User, password: str) -> bool:
    try:
        validate_password(password, row)
    except ValidationError as error:
        check.complain(where, " ".join(error.messages))
        return False
    return True


def _token(check: Check, name: str, values: Values, known: set[str]) -> Change:
    where = f"tokens.{name}"
    check.has_only(where, values, _TOKEN_FIELDS)
    user = values.get("user")
    if user not in known:
        check.complain(f"{where}.user", f"There is no user {user!r}." if user else "Name the user.")
    if not 0 < len(name) <= 100:
        check.complain(where, "Give a name of at most 100 characters.")
    scopes = _scopes(check, f"{where}.scopes", values.get("scopes"))
    expires_at = _instant(check, f"{where}.expires_at", values.get("expires_at"))
    file = _secret_file(check, f"{where}.secret_file", values.get("secret_file"))
    old = Token.objects.filter(user__username=user, name=name).first()
    if old is None and expires_at and expires_at <= timezone.now():
        check.complain(f"{where}.expires_at", "Must be in the future.")
    given = {"scopes": scopes, **({"expires_at": expires_at} if "expires_at" in values else {})}
    fields: _Differences = {
        field: (getattr(old, field, None), value)
        for field, value in given.items()
        if getattr(old, field, None) != value
    }
    if old is not None:
        return Change("token", name, False, fields, partial(_update, old, fields))
    fields = {"user": (None, user), **fields, "secret_file": (None, str(file))}
    return Change("token", name, True, fields, partial(_issue, str(user), name, scopes, expires_at, file))


def _scopes(check: Check, where: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value or any(scope not in issuing.SCOPES for scope in value):
        check.complain(where, f"Must be a list with at least one of {', '.join(issuing.SCOPES)}.")
        return []
    return [scope for scope in issuing.SCOPES if scope in value]


def _instant(check: Check, where: str, value: object) -> datetime | None:
    """A time of YAML or RFC 3339; without a zone it is UTC."""
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        instant = None
    if not isinstance(instant, datetime):
        check.complain(where, "Must be a time like 2030-01-31T12:00:00Z.")
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _secret_file(check: Check, where: str, value: object) -> Path | None:
    path = inside(settings.RRM.data_dir, value) if isinstance(value, str) and value else None
    if path is None or path == settings.RRM.data_dir.resolve():
        check.complain(where, "Name a file for the secret, under the data folder.")
    return path


def _update(token: Token, fields: Mapping[str, tuple[Any, Any]]) -> None:
    for field, (_, value) in fields.items():
        setattr(token, field, value)
    token.save(update_fields=list(fields))


def _issue(user: str, name: str, scopes: list[str], expires_at: datetime | None, file: Path | None) -> None:
    """Make the token and leave its secret in the file, which nobody else can read."""
    _, secret = issuing.issue(User.objects.get(username=user), name, scopes, expires_at)
    if file is not None:
        issuing.keep_secret(file, secret)
