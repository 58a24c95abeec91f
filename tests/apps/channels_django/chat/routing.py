"""Every address that is a WebSocket."""

from django.urls import path

from chat.consumers import AdminRoom, CustomerRoom, Mirror

urlpatterns = [
    path("ws/admin/", AdminRoom.as_asgi()),
    path("ws/customer/", CustomerRoom.as_asgi()),
    path("ws/mirror/", Mirror.as_asgi()),
    path("ws/mirror/<path:rest>", Mirror.as_asgi()),
]
