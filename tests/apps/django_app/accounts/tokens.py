"""A second login whose tokens carry the user's role: SimpleJWT's own carry only the user's id."""

from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.views import TokenObtainPairView


class RoleTokenObtainPairSerializer(TokenObtainPairSerializer):
    """Adds role, city and mail address, as SimpleJWT's documentation shows."""

    @classmethod
    def get_token(cls, user):
        token = super().get_token(user)
        token["roles"] = [user.role] + (["staff"] if user.is_staff else [])
        token["city"] = user.city
        token["email"] = user.email
        token["name"] = user.get_full_name()
        return token


class RoleTokenObtainPairView(TokenObtainPairView):
    """`POST {username, password}` answers `{access, refresh}`."""

    serializer_class = RoleTokenObtainPairSerializer
