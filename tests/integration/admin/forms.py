"""How a browser uses the admin pages."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse


def listed(noun: str) -> str:
    return reverse(f"admin:farm_{noun}_changelist")


def filled(client: Client, address: str) -> dict[str, Any]:
    """What a browser would send back of a form that nobody touched."""
    form = client.get(address).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def act(client: Client, noun: str, action: str, *rows: Any, **more: Any) -> Any:
    """Carry out an action of a list, through the page that asks first."""
    chosen = {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}
    asked = client.post(listed(noun), {**chosen, "index": "0"})
    assert asked.status_code == 200, "the action must ask first"
    assert all(str(row.pk) in asked.text for row in rows)
    return client.post(listed(noun), {**chosen, "confirmed": "yes"}, follow=True)
