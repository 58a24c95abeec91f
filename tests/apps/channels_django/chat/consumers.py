"""The rooms: one for the shop's staff, one for anybody, and a mirror for those who look into faults."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer


def agreed(scope):
    """The subprotocol to speak: the first that was offered, as browsers want one of theirs."""
    return next(iter(scope["subprotocols"]), None)


class RoomConsumer(AsyncJsonWebsocketConsumer):
    """Sends what one visitor says to all who are in the room, by way of Redis."""

    group = ""

    async def welcome(self):
        """Enters the room."""
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept(agreed(self.scope))
        await self.send_json({"user": self.scope["user"].username})

    async def connect(self):
        await self.welcome()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content):
        who = self.scope["user"].username
        await self.channel_layer.group_send(self.group, {"type": "said", "who": who, "text": content["text"]})

    async def said(self, event):
        """Somebody in the room has spoken."""
        await self.send_json({"who": event["who"], "text": event["text"]})


class AdminRoom(RoomConsumer):
    """For staff alone; the app closes the door to others itself, too."""

    group = "admins"

    async def connect(self):
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.close(4401)
        elif not user.is_staff:
            await self.close(4403)
        else:
            await self.welcome()


class CustomerRoom(RoomConsumer):
    """For anybody."""

    group = "customers"


class Mirror(AsyncWebsocketConsumer):
    """Says what it saw of the handshake, then sends back what comes; `close CODE` makes it close."""

    async def connect(self):
        await self.accept(agreed(self.scope))
        headers = "\n".join(f"{name.decode()}: {value.decode()}" for name, value in self.scope["headers"])
        query, offered = self.scope["query_string"].decode(), ", ".join(self.scope["subprotocols"])
        await self.send(f"path {self.scope['path']}\nquery {query}\noffered {offered}\n{headers}")

    async def receive(self, text_data=None, bytes_data=None):
        if text_data and text_data.startswith("close "):
            await self.close(int(text_data.removeprefix("close ")))
        else:
            await self.send(text_data=text_data, bytes_data=bytes_data)
