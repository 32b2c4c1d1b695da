"""Guessing passwords is slow: who fails too often with an account waits before the next attempt.

Each process counts for itself, in Django's cache, for one account tried from one address.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from functools import wraps

from django.contrib.auth.forms import AuthenticationForm
from django.core.cache import cache
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

FAILURES = 5
WINDOW_SECONDS = 300

_View = Callable[..., HttpResponseBase]


def throttled(view: _View) -> _View:
    """A login view that answers 429 to further attempts after five failures within five minutes."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        key = _key(request)
        if seconds := _wait(key):
            return _refusal(request, seconds)
        response = view(request, *args, **kwargs)
        if request.user.is_authenticated:
            cache.delete(key)
        else:
            _count(key)
        return response

    return guarded


def _key(request: HttpRequest) -> str:
    tried = f"{request.POST.get('username', '').casefold()} {request.META.get('REMOTE_ADDR', '')}"
    return f"login-{hashlib.sha256(tried.encode()).hexdigest()}"


def _wait(key: str) -> int:
    """Seconds until the next attempt is heard; 0 for now."""
    failures, until = cache.get(key, (0, 0.0))
    return max(0, math.ceil(until - time.time())) if failures >= FAILURES else 0


def _count(key: str) -> None:
    now = time.time()
    failures, until = cache.get(key, (0, now + WINDOW_SECONDS))
    cache.set(key, (failures + 1, until), max(1.0, until - now))


def _refusal(request: HttpRequest, seconds: int) -> HttpResponseBase:
    # A form that holds no data: one that does would try the password after all.
    form = AuthenticationForm(request, initial={"username": request.POST.get("username", "")})
    said = f"Too many attempts. Try again in {math.ceil(seconds / 60)} min."
    context = {"form": form, "next": request.POST.get("next", ""), "refused": said}
    response = render(request, "dashboard/login.html", context, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response
