"""How settings that are addresses are written. Each function says whether a text is one of its kind."""

from __future__ import annotations

import re
from email.utils import parseaddr
from urllib.parse import SplitResult, urlsplit

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
_ORIGIN = re.compile(rf"https?://(?:\*\.)?{_HOST}(?::\d{{1,5}})?")
_SERVER = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>\d{{1,5}}))?")
_MAILBOX = re.compile(r"[^\s@<>,;:\"]+@[^\s@<>,;:\"]+")


def is_origin(text: str) -> bool:
    """Scheme, host and port, where the host may begin with "*."."""
    return _ORIGIN.fullmatch(text) is not None


def is_mailbox(text: str) -> bool:
    return _MAILBOX.fullmatch(text) is not None


def is_sender(text: str) -> bool:
    """A mail address, perhaps with a name: RRM <rrm@example.org>."""
    return text.isprintable() and is_mailbox(parseaddr(text)[1])


def is_mail_server(text: str) -> bool:
    found = _SERVER.fullmatch(text)
    return found is not None and 0 < int(found["port"] or 25) < 65536


def mail_server(text: str) -> tuple[str, int]:
    """Its name and its port."""
    found = _SERVER.fullmatch(text)
    return (found["host"].strip("[]"), int(found["port"] or 25)) if found else (text, 25)


def is_service(text: str) -> bool:
    """Where a service over HTTP is: https://rrm.example.org, perhaps with a path."""
    parts = _split(text)
    return parts is not None and parts.scheme in {"http", "https"} and not (parts.query or parts.fragment)


def is_broker(text: str) -> bool:
    """redis://host:6379/0, as both Celery and Redis's own client read it."""
    parts = _split(text)
    return parts is not None and parts.scheme in {"redis", "rediss"} and bool(re.fullmatch(r"(/\d*)?", parts.path))


def _split(text: str) -> SplitResult | None:
    """The parts of an address with a host and, if any, a port; None of what has none."""
    try:
        parts = urlsplit(text)
        is_one = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_one and not re.search(r"\s", text) else None


def without_password(url: str) -> str:
    """A database's address as it may be shown to anybody."""
    try:
        parts = urlsplit(url)
        secret = parts.password
    except ValueError:
        return f"{url.partition(':')[0]}:…"
    if secret is None:
        return url.partition("?")[0]
    account, _, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{account.partition(':')[0]}:…@{host}{parts.path}"
