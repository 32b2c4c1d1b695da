"""What a new data folder begins with: an operator who can log in and call the API, and one job to look at."""

from __future__ import annotations

import secrets
from pathlib import Path

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from rrm.farm import jobs, tokens
from rrm.farm.models import Job, RenderModel, Resource, Token

OPERATOR = "operator"
PASSWORD_FILE = "operator.password"  # noqa: S105  (the name of the file)
TOKEN_FILE = "operator.token"  # noqa: S105

_ORDER = {
    "name": "Welcome",
    "width": 4096,
    "height": 4096,
    "outputs": ["png", "counts"],
    "coloring": {"palette": "electric"},
}
_PREFERRED = "valley"
_MARK = "Submitted at the first start."


def ensure_operator(data_dir: Path) -> None:
    """The operator's account and token exist, and the files hold what opens them. Safe to repeat.

    A password or token changed by hand is left alone. Deleting a file is how to ask for a new one.
    """
    with transaction.atomic():
        user = _operator(data_dir / PASSWORD_FILE)
        _ensure_token(user, data_dir / TOKEN_FILE)


def submit_demo() -> Job | None:
    """The first job of a database, owned by the operator. None if there was one, or nothing can render it."""
    user = User.objects.filter(username=OPERATOR).first()
    model = _demo_model()
    resource = Resource.objects.filter(renderer=Resource.Renderer.MANDELBROT, enabled=True).first()
    if not user or not model or not resource or _was_submitted():
        return None
    job, _ = jobs.submit(user, _ORDER | {"model": str(model.pk), "resource": resource.pk})
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(Job),
        object_id=str(job.pk),
        object_repr=str(job)[:200],
        action_flag=ADDITION,
        change_message=_MARK,
    )
    return job


def _operator(password_file: Path) -> User:
    """The operator's account, with the password in the file if either of the two is new."""
    user = User.objects.filter(username=OPERATOR).first()
    if user and password_file.exists():
        return user
    kept = password_file.read_text().strip() if password_file.exists() else ""
    password = kept or secrets.token_urlsafe(18)
    # The file comes first: a crash in between leaves a file that the next start makes true.
    tokens.keep_secret(password_file, password)
    if user is None:
        return User.objects.create_superuser(OPERATOR, password=password)
    user.set_password(password)
    user.save(update_fields=["password"])
    return user


def _ensure_token(user: User, token_file: Path) -> None:
    """The file holds a token of the operator that is in force; those that earlier files held end with them."""
    kept = token_file.read_text().strip() if token_file.exists() else ""
    if kept and tokens.in_force().filter(user=user, digest=tokens.digest_of(kept)).exists():
        return
    Token.objects.filter(user=user, name=TOKEN_FILE).delete()
    _, secret = tokens.issue(user, TOKEN_FILE, tokens.SCOPES)
    tokens.keep_secret(token_file, secret)


def _demo_model() -> RenderModel | None:
    named = RenderModel.objects.exclude(name=None)
    return named.filter(name=_PREFERRED).first() or named.order_by("name").first()


def _was_submitted() -> bool:
    """The log of what accounts did outlives the job: one that was deleted does not come back."""
    return Job.objects.exists() or LogEntry.objects.filter(change_message=_MARK).exists()
