"""The same four requests by Django, its ORM on psycopg with its pool, written the plain way."""

import json
import os
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import django
import jwt
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import models
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils import timezone

SECRET = os.environ["SECRET_KEY"]
url = urlsplit(os.environ["DATABASE_URL"])
sys.modules["reference"] = sys.modules[__name__]  # relations are followed among installed apps
settings.configure(
    INSTALLED_APPS=["reference"],
    SECRET_KEY=SECRET,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "HOST": parse_qs(url.query)["host"][0],
            "OPTIONS": {"pool": {"max_size": int(os.environ["DATABASE_POOL_SIZE"])}},
        }
    },
)
django.setup()


class User(models.Model):
    """An account."""

    id = models.UUIDField(primary_key=True)
    email = models.TextField()
    full_name = models.TextField(null=True)
    role = models.TextField()
    is_active = models.BooleanField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        """Where the rows are."""

        app_label = "reference"
        db_table = "users"


class Tag(models.Model):
    """A word."""

    id = models.UUIDField(primary_key=True)
    name = models.TextField()

    class Meta:
        """Where the rows are."""

        app_label = "reference"
        db_table = "tags"
        ordering = ("name",)


class Item(models.Model):
    """A thing of a user."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    owner = models.ForeignKey(User, models.CASCADE)
    title = models.TextField()
    description = models.TextField(null=True)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    tags = models.ManyToManyField(Tag, db_table="item_tags")

    class Meta:
        """Where the rows are."""

        app_label = "reference"
        db_table = "items"


def current_user(request: HttpRequest) -> User | None:
    """The caller."""
    try:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.PyJWTError:
        return None
    return User.objects.filter(pk=UUID(claims["sub"]), is_active=True).first()


def shown(item: Item, tags: list[Tag]) -> dict[str, Any]:
    """An item as it is shown."""
    return {
        "id": item.id,
        "title": item.title,
        "description": item.description,
        "tags": [{"name": tag.name} for tag in tags],
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


def health(_: HttpRequest) -> HttpResponse:
    """Whether the process answers."""
    return JsonResponse({"status": "ok"})


def read_me(request: HttpRequest) -> HttpResponse:
    """The caller's account."""
    user = current_user(request)
    if user is None:
        return HttpResponse(status=401)
    names = ("id", "email", "full_name", "role", "is_active", "created_at", "updated_at")
    return JsonResponse({name: getattr(user, name) for name in names})


def items(request: HttpRequest) -> HttpResponse:
    """The caller's items, the newest first; or make one."""
    user = current_user(request)
    if user is None:
        return HttpResponse(status=401)
    if request.method == "POST":
        data = json.loads(request.body)
        item = Item.objects.create(
            owner=user, title=data["title"], description=data.get("description")
        )
        return JsonResponse(shown(item, []), status=201)
    limit = int(request.GET.get("limit", "20"))
    found = Item.objects.filter(owner=user).order_by("-created_at").prefetch_related("tags")
    return JsonResponse({"items": [shown(item, list(item.tags.all())) for item in found[:limit]]})


urlpatterns = [path("health", health), path("users/me", read_me), path("items", items)]
app = get_wsgi_application()
