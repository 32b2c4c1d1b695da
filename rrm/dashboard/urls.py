"""Addresses of the pages, mounted at the root of the server."""

from django.conf import settings
from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.generic import RedirectView

from rrm.dashboard import views
from rrm.dashboard.throttle import throttled

app_name = "dashboard"

# Asked for by browsers on pages that name no icon of their own.
ICON = RedirectView.as_view(url=f"{settings.STATIC_URL}dashboard/favicon.svg", permanent=True)

urlpatterns = [
    path("", views.home, name="home"),
    path("job/<uuid:job>", views.job, name="job"),
    path("explore/", views.explore, name="explore"),
    path("login/", throttled(views.SignIn.as_view()), name="login"),
    path("logout/", LogoutView.as_view(next_page="dashboard:login"), name="logout"),
    path("favicon.ico", ICON),
]
