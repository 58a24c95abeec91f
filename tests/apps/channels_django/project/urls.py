"""Every address that is no WebSocket."""

from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView

from chat.tokens import CounterTokenView
from chat.views import home

urlpatterns = [
    path("", home),
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/counter/", CounterTokenView.as_view()),
]
