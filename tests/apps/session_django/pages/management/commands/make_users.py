"""`manage.py make_users`: the tables, and where there are no users yet, those that the tests sign in as."""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import BaseCommand

NAMED = [("hana", "host"), ("tara", "technician"), ("sina", "supervisor")]
# Technicians who may come to harm: each test takes one of its own.
SPARE = [(f"spare{number:02}", "technician") for number in range(1, 41)]


class Command(BaseCommand):
    """Makes the tables, one user of each role and some to spare; the password is the name with `-password` after it."""

    help = __doc__

    def handle(self, *args, **options):
        call_command("migrate", verbosity=0)
        model = get_user_model()
        if model.objects.exists():
            return
        groups = {role: Group.objects.create(name=role) for role in ("host", "technician", "supervisor")}
        for key, (name, role) in enumerate(NAMED + SPARE, start=1):
            user = model(
                id=key,
                username=name,
                email=f"{name}@example.com",
                first_name=name.title(),
                last_name="Azadi",
                is_staff=role == "supervisor",
            )
            user.set_password(f"{name}-password")
            if hasattr(user, "role"):
                user.role = role
                user.save()
            else:
                user.save()
                user.groups.add(groups[role])
