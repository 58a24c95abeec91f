"""A login for the screen at the shop's counter: its access tokens live for seconds, and it asks for new ones all the time."""

from datetime import timedelta

from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken
from rest_framework_simplejwt.views import TokenObtainPairView


class CounterAccessToken(AccessToken):
    """An access token of four seconds."""

    lifetime = timedelta(seconds=4)


class CounterRefreshToken(RefreshToken):
    """The refresh token that makes them."""

    access_token_class = CounterAccessToken


class CounterTokenSerializer(TokenObtainPairSerializer):
    """SimpleJWT's own, with the other lifetime."""

    token_class = CounterRefreshToken


class CounterTokenView(TokenObtainPairView):
    """`POST {username, password}` answers `{access, refresh}`."""

    serializer_class = CounterTokenSerializer
