"""The pages that people see: sign in, out, change the password, a basket for everybody."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required, user_passes_test
from django.contrib.auth.views import LoginView
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST


def home(request):
    """A public page."""
    return HttpResponse("<!doctype html><title>Home</title><h1>Orders</h1>")


class RememberingLoginView(LoginView):
    """Django's login, with the box that keeps people signed in."""

    def form_valid(self, form):
        answer = super().form_valid(form)
        if not self.request.POST.get("remember"):
            self.request.session.set_expiry(settings.SHORT_SESSION_S)
        return answer


@login_required
def profile(request):
    """Who is signed in, by Django's own opinion."""
    return render(request, "pages/profile.html")


def basket(request):
    """Keeps what anybody, signed in or not, wants to buy: in the session."""
    if request.method == "POST":
        request.session["basket"] = [*request.session.get("basket", []), request.POST.get("item", "")]
        return redirect("basket")
    return render(request, "pages/basket.html", {"items": request.session.get("basket", [])})


@require_POST
@user_passes_test(lambda user: user.is_staff)
def deactivate(request, key):
    """The staff's button that ends an account."""
    user = get_object_or_404(get_user_model(), pk=key)
    user.is_active = False
    user.save(update_fields=["is_active"])
    return redirect("profile")
