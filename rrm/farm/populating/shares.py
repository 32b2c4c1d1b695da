"""Quotas of a document, compared with the rows there are: what each user may have of the farm."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.models import User

from rrm.farm import quotas
from rrm.farm.models import Quota
from rrm.farm.populating.document import Values
from rrm.farm.populating.plan import Change, Check
from rrm.farm.populating.registered import ACTOR


def shares(check: Check) -> list[Change]:
    users = {*User.objects.values_list("username", flat=True), *check.document.section("users")}
    rows = {quota.owner.username: quota for quota in Quota.objects.select_related("owner")}
    section = check.document.section("quotas")
    return [_share(check, name, values, rows.get(name), users) for name, values in section.items()]


def _share(check: Check, name: str, values: Values, old: Quota | None, users: set[str]) -> Change:
    where = f"quotas.{name}"
    if name not in users:
        check.complain(where, f"There is no user {name!r}.")
    check.has_only(where, values, quotas.FIELDS)
    fields: dict[str, tuple[Any, Any]] = {}
    for field, value in values.items():
        if field in quotas.FIELDS and _fits(check, f"{where}.{field}", field, value):
            known = getattr(old, field) if old else None
            if old is None or known != value:
                fields[field] = (known, value)
    return Change("quota", name, old is None, fields, partial(_save, name, {field: values[field] for field in fields}))


def _fits(check: Check, where: str, field: str, value: object) -> bool:
    said = quotas.complaint(field, value)
    if said:
        check.complain(where, said)
    return not said


def _save(name: str, values: Values) -> None:
    quotas.change(User.objects.get(username=name), values, ACTOR)
