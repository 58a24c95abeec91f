"""Who opens a socket: the access token in `?token=` or `?access=`, or behind `bearer` in the subprotocols."""

from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from django.contrib.auth.models import AnonymousUser
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import TokenError


def token_of(scope):
    """The token that came with the handshake, or None."""
    query = parse_qs(scope["query_string"].decode())
    for name in ("token", "access"):
        if name in query:
            return query[name][0]
    offered = scope.get("subprotocols", [])
    return offered[1] if len(offered) > 1 and offered[0] == "bearer" else None


@database_sync_to_async
def user_of(token):
    """The token's user; nobody where it is missing or not good."""
    if token is None:
        return AnonymousUser()
    authentication = JWTAuthentication()
    try:
        return authentication.get_user(authentication.get_validated_token(token.encode()))
    except (AuthenticationFailed, TokenError):
        return AnonymousUser()


class TokenAuthMiddleware:
    """Puts the user into the scope, as the middleware of Channels does for sessions."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        return await self.inner({**scope, "user": await user_of(token_of(scope))}, receive, send)
