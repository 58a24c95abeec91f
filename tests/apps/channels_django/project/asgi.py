"""What daphne loads."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
http = get_asgi_application()

from chat.middleware import TokenAuthMiddleware  # noqa: E402  (needs the apps loaded)
from chat.routing import urlpatterns  # noqa: E402

application = ProtocolTypeRouter({"http": http, "websocket": TokenAuthMiddleware(URLRouter(urlpatterns))})
