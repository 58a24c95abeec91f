"""Users with a role in a column of their own table, as many apps keep it."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A user of one of three roles."""

    class Role(models.TextChoices):
        HOST = "host"
        TECHNICIAN = "technician"
        SUPERVISOR = "supervisor"

    role = models.CharField(max_length=20, choices=Role.choices, default=Role.HOST)
