"""`manage.py make_users`: the tables, and the users that the tests sign in as."""

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Makes `sara`, who is staff, and `kian`, a customer; the password is the name with `-password` after it."""

    help = __doc__

    def handle(self, *args, **options):
        call_command("migrate", verbosity=0)
        for key, (name, staff) in enumerate((("sara", True), ("kian", False)), start=1):
            User.objects.create_user(name, password=f"{name}-password", id=key, is_staff=staff)
