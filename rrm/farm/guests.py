"""The account that owns what programs of the first RRM make without saying who they are."""

from __future__ import annotations

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

NAME = "v1"


def guest() -> User | None:
    """The account, made on first use; None when an operator has closed it, or when it is somebody's own."""
    user, _ = User.objects.get_or_create(username=NAME, defaults={"password": make_password(None)})
    is_somebody = user.has_usable_password() or user.is_staff or user.is_superuser
    return user if user.is_active and not is_somebody else None
