"""Every address of the app."""

from django.contrib.auth.views import LogoutView, PasswordChangeView
from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from pages import api, views

urlpatterns = [
    path("", views.home),
    path("accounts/login/", views.RememberingLoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("accounts/password/", PasswordChangeView.as_view(success_url="/profile/"), name="password_change"),
    path("profile/", views.profile, name="profile"),
    path("basket/", views.basket, name="basket"),
    path("staff/users/<int:key>/deactivate/", views.deactivate, name="deactivate"),
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("api/auth/me", api.me),
    path("api/auth/slow-me", api.slow_me),
    path("api/auth/stuck-me", api.stuck_me),
    path("api/auth/broken-me", api.broken_me),
    path("api/orders/", api.orders),
    path("api/orders/<path:rest>", api.orders),
    path("api/supervisor/", api.orders),
]
