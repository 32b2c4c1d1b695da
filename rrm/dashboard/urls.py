"""Addresses of the pages, mounted at the root of the server."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from rrm.dashboard import views

app_name = "dashboard"

urlpatterns = [
    path("", views.home, name="home"),
    path("job/<uuid:job>", views.job, name="job"),
    path("login/", views.SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(next_page="dashboard:login"), name="logout"),
]
