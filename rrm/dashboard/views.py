"""The pages: each view renders one template with the few facts its scripts need."""

from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

API_PREFIX = "/rendering-resource-manager/v2/"
SIGN_IN = reverse_lazy("dashboard:login")


@require_safe
@login_required(login_url=SIGN_IN)
@ensure_csrf_cookie
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """The dashboard: a job form, the picture as it assembles, and the farm."""
    return render(request, "dashboard/home.html", {"config": _facts(request)})


@require_safe
@login_required(login_url=SIGN_IN)
@ensure_csrf_cookie
@never_cache
def job(request: HttpRequest, job: UUID) -> HttpResponse:
    """One job, during its run and long after; the API decides who may see it."""
    return render(request, "dashboard/job.html", {"config": {**_facts(request), "job": str(job)}})


@require_safe
@login_required(login_url=SIGN_IN)
@ensure_csrf_cookie
@never_cache
def explore(request: HttpRequest) -> HttpResponse:
    """The explorer: a renderer booked for whoever looks, and the view that they move."""
    return render(request, "dashboard/explore.html", {"config": _facts(request)})


class SignIn(LoginView):
    """The project's own login page."""

    template_name = "dashboard/login.html"
    next_page = "/"
    redirect_authenticated_user = True


def _facts(request: HttpRequest) -> dict[str, object]:
    return {
        "api": API_PREFIX,
        "user": request.user.get_username(),
        "operator": bool(getattr(request.user, "is_staff", False)),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
    }
