"""Every address of the app."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from rest_framework_simplejwt.views import TokenBlacklistView, TokenObtainPairView, TokenRefreshView

from accounts.tokens import RoleTokenObtainPairView
from api import views

urlpatterns = [
    path("", views.home),
    path("health/", views.health),
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("notes/", views.notes, name="notes"),
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("api/token/blacklist/", TokenBlacklistView.as_view()),
    path("api/login/", RoleTokenObtainPairView.as_view()),
    path("api/me/", views.me),
    path("api/echo/", views.echo),
    path("api/echo/<path:rest>", views.echo),
    path("api/supervisor/report/", views.echo),
    path("api/backup/restore/", views.echo),
    path("api/upload/", views.upload),
    path("api/download/", views.download),
    path("api/file/", views.ranged_file),
    path("api/events/", views.events),
    path("api/slow/", views.slow),
    path("api/status/<int:code>/", views.status),
    path("api/gzip/", views.compressed),
    path("api/cached/", views.cached),
    path("api/cookies/", views.set_cookies),
]
