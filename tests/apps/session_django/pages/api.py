"""What the front end asks."""

import time

from django.http import JsonResponse
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response


def roles_of(user):
    """The role in the user's own column, or the names of the user's groups."""
    if hasattr(user, "role"):
        return [user.role]
    return sorted(user.groups.values_list("name", flat=True))


def account(user):
    """What the front end shows of a user."""
    return {
        "id": user.pk,
        "username": user.username,
        "email": user.email,
        "user": {"roles": roles_of(user), "active": user.is_active},
    }


@api_view(["GET"])
@permission_classes([IsAuthenticated])
def me(request):
    """Who the app itself believes the caller is: by the session or by the token."""
    return Response(account(request.user))


@api_view(["GET"])
@permission_classes([IsAuthenticated])
def slow_me(request):
    """The same from a table that lost its index."""
    time.sleep(1)
    return Response(account(request.user))


def stuck_me(request):
    """The same behind a lock that somebody holds."""
    time.sleep(20)
    return JsonResponse({})


def broken_me(request):
    """The same after a bad deployment."""
    raise RuntimeError("made to fail")


def orders(request, rest=""):
    """What reached the app, and who it says the caller is by its own session."""
    told = {key[5:]: value for key, value in request.META.items() if key.startswith("HTTP_X_AUTH_")}
    return JsonResponse(
        {
            "path": request.path,
            "headers": told,
            "cookies": sorted(request.COOKIES),
            "app_user": request.user.pk if request.user.is_authenticated else None,
            "app_roles": roles_of(request.user) if request.user.is_authenticated else [],
        }
    )
