"""`manage.py make_users`: the users that the tests sign in as."""

from django.core.management.base import BaseCommand

from accounts.models import User

USERS = [
    # id, name, role, staff, city
    (1, "hana", "host", False, "Shiraz"),
    (2, "tara", "technician", False, "Tehran"),
    (3, "sina", "supervisor", True, "Tehran"),
]


class Command(BaseCommand):
    """Makes one user of each role; the password is the name with `-password` after it."""

    help = __doc__

    def handle(self, *args, **options):
        for key, name, role, staff, city in USERS:
            user = User(
                id=key,
                username=name,
                role=role,
                is_staff=staff,
                city=city,
                email=f"{name}@example.com",
                first_name=name.title(),
                last_name="Azadi",
            )
            user.set_password(f"{name}-password")
            user.save()
