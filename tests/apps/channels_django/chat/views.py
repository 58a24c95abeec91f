"""The page that is no socket."""

from django.http import HttpResponse


def home(request):
    """A public page, on which the chat's script would run."""
    return HttpResponse("<!doctype html><title>Shop</title><h1>The shop</h1>")
