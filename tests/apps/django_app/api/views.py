"""What the app answers: an echo of what it saw, and the awkward kinds of answers."""

import hashlib
import json
import os
import time

from django.contrib.auth.decorators import login_required
from django.http import (
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import etag
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

BLOCK = b"0123456789abcdef" * 4096  # 64 KiB


def home(request):
    """A public page."""
    return HttpResponse("<!doctype html><title>Home</title><h1>Home of the app</h1>")


def health(request):
    """For load balancers."""
    return JsonResponse({"ok": True})


@csrf_exempt
def echo(request, rest=""):
    """Answers with what reached the app: what a view can learn from the request, word for word."""
    meta = request.META
    headers = {key[5:]: value for key, value in meta.items() if key.startswith("HTTP_")}
    body = request.read()
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "raw_uri": meta.get("RAW_URI"),
            "query": meta.get("QUERY_STRING", ""),
            "headers": headers,
            "content_type": meta.get("CONTENT_TYPE", ""),
            "host": request.get_host(),
            "is_secure": request.is_secure(),
            "absolute_uri": request.build_absolute_uri(),
            "remote_addr": meta.get("REMOTE_ADDR"),
            "body_length": len(body),
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "pid": os.getpid(),
        }
    )


@api_view(["GET"])
@permission_classes([IsAuthenticated])
def me(request):
    """Who the app itself believes the caller is, by its own check of the token."""
    return Response({"id": request.user.id, "username": request.user.username, "role": request.user.role})


@csrf_exempt
def upload(request):
    """Reads a body block by block and tells its length and hash."""
    # Django itself sees no body without a Content-Length; the server's own stream ends where chunks end.
    source = request if request.META.get("CONTENT_LENGTH") else request.META["wsgi.input"]
    digest, length = hashlib.sha256(), 0
    while block := source.read(65536):
        digest.update(block)
        length += len(block)
    return JsonResponse({"length": length, "sha256": digest.hexdigest()})


def download(request):
    """Streams `?bytes=N` bytes, with a length unless `?chunked=1`."""
    left = int(request.GET.get("bytes", "1048576"))

    def blocks(remaining):
        while remaining > 0:
            part = BLOCK[: min(remaining, len(BLOCK))]
            remaining -= len(part)
            yield part

    answer = StreamingHttpResponse(blocks(left), content_type="application/octet-stream")
    if "chunked" not in request.GET:
        answer["Content-Length"] = str(left)
    return answer


def ranged_file(request):
    """1000 bytes that may be asked for in part (one range of the form `bytes=a-b`)."""
    content = bytes(index % 251 for index in range(1000))
    wanted = request.headers.get("Range", "")
    if not wanted.startswith("bytes="):
        answer = HttpResponse(content, content_type="application/octet-stream")
        answer["Accept-Ranges"] = "bytes"
        return answer
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    first, last = int(first), int(last or 999)
    answer = HttpResponse(content[first : last + 1], status=206, content_type="application/octet-stream")
    answer["Content-Range"] = f"bytes {first}-{last}/1000"
    return answer


def events(request):
    """Server-sent events: `?count=N`, one every `?every=S` seconds."""
    count, every = int(request.GET.get("count", "5")), float(request.GET.get("every", "0.2"))

    def stream():
        for number in range(count):
            yield f"id: {number}\ndata: {json.dumps({'at': time.time()})}\n\n"
            time.sleep(every)

    answer = StreamingHttpResponse(stream(), content_type="text/event-stream")
    answer["Cache-Control"] = "no-cache"
    return answer


@csrf_exempt
def slow(request):
    """Answers after `?seconds=S`."""
    time.sleep(float(request.GET.get("seconds", "1")))
    return JsonResponse({"slept": True})


@csrf_exempt
def status(request, code):
    """Answers with any status; 500 by way of an exception nobody catches."""
    if code == 500:
        raise RuntimeError("made to fail")
    if code == 204:
        return HttpResponse(status=204)
    return JsonResponse({"detail": f"the app says {code}"}, status=code)


@gzip_page
def compressed(request):
    """A text that compresses well, in gzip where the client takes it."""
    return HttpResponse("the same words again and again\n" * 2000, content_type="text/plain")


@etag(lambda request: '"version-1"')
def cached(request):
    """Answers 304 to a client that has it already."""
    return HttpResponse("contents", content_type="text/plain")


def set_cookies(request):
    """Sets two cookies, which must arrive as two."""
    answer = HttpResponse("ok")
    answer.set_cookie("first", "1", httponly=True)
    answer.set_cookie("second", "2", samesite="Lax")
    return answer


@login_required
def notes(request):
    """A page with a form, behind Django's own login and CSRF check."""
    if request.method == "POST":
        request.session.setdefault("notes", []).append(request.POST.get("text", ""))
        request.session.modified = True
        return redirect("notes")
    return render(request, "api/notes.html", {"notes": request.session.get("notes", [])})
