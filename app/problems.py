"""Every error a client can see, one tree. Each answers as RFC 9457 `application/problem+json`.

Problem
├── BadRequest 400            the request could not be understood
│   └── InvalidUpload         a bulk body that is not what it says it is
├── Unauthorized 401, Forbidden 403
├── NotFound 404, MethodNotAllowed 405
├── Conflict 409              it clashes with what is there
│   ├── IdTaken               registered before, with another body
│   ├── InUse                 something still needs it
│   ├── NoRoute               no way from the query's model to the gallery's generation
│   └── WrongState            the operation is not possible in this state
├── TooLarge 413, UnsupportedMediaType 415
├── Unprocessable 422         understood, but wrong
│   ├── InvalidRows           rows of a bulk body break a rule; nothing was stored
│   └── KeyReused             an Idempotency-Key seen with another body
├── InternalError 500
└── Unavailable 503           try again later
"""

from typing import Any, ClassVar

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error as the client sees it: a stable `type`, a sentence on what was wrong and what to do, and members."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong inside Crosswalk"

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members

    @classmethod
    def type_uri(cls) -> str:
        return f"/problems/{cls.slug}"

    def to_json(self, instance: str | None = None) -> dict[str, Any]:
        """The RFC 9457 object; `members` become extension members."""
        body = {"type": self.type_uri(), "title": self.title, "status": self.status, "detail": self.detail}
        if instance is not None:
            body["instance"] = instance
        return body | self.members


class BadRequest(Problem):
    status, slug, title = 400, "bad-request", "The request could not be understood"


class InvalidUpload(BadRequest):
    slug, title = "invalid-upload", "The uploaded body is not what it says it is"


class Unauthorized(Problem):
    status, slug, title = 401, "unauthorized", "A valid API key is needed"


class Forbidden(Problem):
    status, slug, title = 403, "forbidden", "This API key may not do that"


class NotFound(Problem):
    status, slug, title = 404, "not-found", "There is no such resource"


class MethodNotAllowed(Problem):
    status, slug, title = 405, "method-not-allowed", "This resource does not take that method"


class Conflict(Problem):
    status, slug, title = 409, "conflict", "The request clashes with what is there"


class IdTaken(Conflict):
    slug, title = "id-taken", "That id is registered with another body"


class InUse(Conflict):
    slug, title = "in-use", "Something still uses this resource"


class NoRoute(Conflict):
    slug, title = "no-route", "No route leads from the query's model to this gallery"


class WrongState(Conflict):
    slug, title = "wrong-state", "The operation is not possible in this state"


class TooLarge(Problem):
    status, slug, title = 413, "too-large", "The body is larger than this service takes"


class UnsupportedMediaType(Problem):
    status, slug, title = 415, "unsupported-media-type", "This media type is not taken here"


class Unprocessable(Problem):
    status, slug, title = 422, "validation-error", "The request was understood, but something in it is wrong"


class InvalidRows(Unprocessable):
    slug, title = "invalid-rows", "Some rows break a rule; nothing was stored"


class KeyReused(Unprocessable):
    slug, title = "idempotency-key-reused", "This Idempotency-Key was used with another request"


class InternalError(Problem):
    """The message never carries the exception's text: that goes to the log, under the request id."""


class Unavailable(Problem):
    status, slug, title = 503, "unavailable", "Not able to answer right now; try again"


def all_problems() -> list[type[Problem]]:
    """Every concrete problem, for the documentation."""
    found: list[type[Problem]] = []
    pending: list[type[Problem]] = [Problem]
    while pending:
        cls = pending.pop()
        children = cls.__subclasses__()
        pending.extend(children)
        if cls is not Problem:
            found.append(cls)
    return sorted(found, key=lambda cls: (cls.status, cls.slug))
