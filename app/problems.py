"""Every error a client can see, one tree. Each answers as RFC 9457 `application/problem+json`.

Problem
├── BadRequest 400            the request could not be understood
│   └── InvalidUpload         a bulk body that is not what it says it is
├── Unauthorized 401          no key was sent, or none that is valid
├── Forbidden 403             the key may not do this
├── ForeignOrigin 403         asked by a web page that may not
├── NotFound 404, MethodNotAllowed 405
├── Conflict 409              it clashes with what is there
│   ├── IdTaken               registered before, with another body
│   ├── InUse                 something still needs it
│   ├── ItemsElsewhere        the gallery's items lie in a store of the user's own
│   ├── NoRoute               no way from the query's model to the gallery's generation
│   ├── StoreChanged          a store of the user's own is not as the gallery says
│   └── WrongState            the operation is not possible in this state
├── BodyStopped 408           its client sends no more of it
├── TooLarge 413, UriTooLong 414, UnsupportedMediaType 415
├── UnknownHost 421           asked by a name that is not the service's
├── Unprocessable 422         understood, but wrong
│   ├── InvalidRows           rows of a bulk body break a rule; nothing was stored
│   ├── WrongSpace            vectors of a bulk body are of another model; nothing was stored
│   └── KeyReused             an Idempotency-Key seen with another body
├── TooManyRequests 429       a key is used more often than it may be
├── Overloaded 429            more requests come than can be answered in time
├── HeadersTooLarge 431
├── InternalError 500
├── EmbedderWrong 502         an embedder refuses, or answers with what is no answer
└── Unavailable 503           try again later
    ├── EmbedderAway          an embedder does not answer, or asks to be left alone for a while
    ├── DiskFull              nothing more can be written
    ├── DiskFailing           the disk refuses to write, or to read
    ├── GalleryStoreAway      the store of a gallery's items does not answer
    ├── IndexEngineAway       the server that keeps the indexes does not answer
    ├── IndexEngineRefuses    that server answers, with an error
    ├── IndexLost             that server answers, and has not the index
    └── ObjectStoreAway       the object store does not answer, or refuses
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error as the client sees it: a stable `type`, a sentence on what was wrong and what to do, and members.

    `remedy` is the general advice that the page at `type` gives; `detail` is about the case at hand.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong inside Crosswalk"
    remedy: ClassVar[str] = (
        "This is a fault of the service. Report it with the answer's request_id: the log has the rest."
    )

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers
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
    remedy = "Correct the request as `detail` says. Repeating it unchanged gives the same answer."


class InvalidUpload(BadRequest):
    slug, title = "invalid-upload", "The uploaded body is not what it says it is"
    remedy = (
        "The file is truncated, damaged, or not of the media type that Content-Type names. Write it again. "
        "Nothing was stored."
    )


class ForeignOrigin(Problem):
    status, slug, title = 403, "foreign-origin", "This web page may not change anything here"
    remedy = (
        "A browser sent this for a web page of another origin. If the page is to be let in, the service's operator "
        "names its origin in the setting `cors_origins`."
    )


class Unauthorized(Problem):
    status, slug, title = 401, "unauthorized", "A valid key is needed"
    remedy = (
        "Send `Authorization: Bearer <key>`. Whoever runs the service makes keys: crosswalk keys create, or POST /keys."
    )

    def __init__(self, detail: str, *, error: str | None = None) -> None:
        told = f', error="{error}"' if error else ""
        super().__init__(detail, headers={"WWW-Authenticate": f'Bearer realm="crosswalk"{told}'})


class Forbidden(Problem):
    status, slug, title = 403, "forbidden", "This may not be done with this key"
    remedy = "`detail` says what is lacking. Whoever runs the service can make a key with more scopes or galleries."


class NotFound(Problem):
    status, slug, title = 404, "not-found", "There is no such resource"
    remedy = "Check the path and the ids in it; the list of the resource shows what there is."


class MethodNotAllowed(Problem):
    status, slug, title = 405, "method-not-allowed", "This resource does not take that method"
    remedy = "Use one of the methods in the Allow header."


class Conflict(Problem):
    status, slug, title = 409, "conflict", "The request clashes with what is there"
    remedy = "Look at what is there now, and decide which of the two you want."


class IdTaken(Conflict):
    slug, title = "id-taken", "That id is registered with another body"
    remedy = "`differing` names the fields. Choose another id, or delete what has this one."


class InUse(Conflict):
    slug, title = "in-use", "Something still uses this resource"
    remedy = "`used_by` names what needs it. Delete or finish that first."


class ItemsElsewhere(Conflict):
    slug, title = "items-elsewhere", "The items of this gallery lie in a store of your own"
    remedy = (
        "`detail` names the connection and the place. Items are written, changed, listed and searched there; Crosswalk "
        "samples them, learns from them, and writes transformed vectors beside theirs."
    )


class StoreChanged(Conflict):
    slug, title = "store-changed", "The gallery's own store is not as the gallery says"
    remedy = "`detail` says what is missing or in the way there. Set that right in the store, and try again."


class StoreBusy(Conflict):
    slug, title = "store-busy", "Something else is at work in the gallery's own store"
    remedy = "`detail` says what is waited for. Nothing was done: send the request again once that has ended."


class NoRoute(Conflict):
    slug, title = "no-route", "No route leads from the query's model to this gallery"
    remedy = "Vectors of different models are never compared. `detail` names the upgrade that would make a route."


class WrongState(Conflict):
    slug, title = "wrong-state", "The operation is not possible in this state"
    remedy = "Look at `state`, and wait or act as `detail` says."


class BodyStopped(Problem):
    status, slug, title = 408, "body-stopped", "The body stopped coming"
    remedy = "Nothing was done. Send the whole request again."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Connection": "close"})


class TooLarge(Problem):
    status, slug, title = 413, "too-large", "The body is larger than this service takes"
    remedy = "Send it in parts: `limit` is the most bytes of one request."


class UriTooLong(Problem):
    status, slug, title = 414, "uri-too-long", "The URL is longer than this service takes"
    remedy = "Send long vectors in a body: POST /search takes JSON, npy and Arrow."


class UnsupportedMediaType(Problem):
    status, slug, title = 415, "unsupported-media-type", "This media type is not taken here"
    remedy = "Send Content-Type with a media type that the operation's documentation lists."


class UnknownHost(Problem):
    status, slug, title = 421, "unknown-host", "This service is not called by that name"
    remedy = "Call it by its address, or have its operator name the host in the setting `allowed_hosts`."


class Unprocessable(Problem):
    status, slug, title = 422, "validation-error", "The request was understood, but something in it is wrong"
    remedy = "`errors` says what is wrong and where. Correct it and send the request again."

    @classmethod
    def at(
        cls, detail: str, *, pointer: str | None = None, parameter: str | None = None, message: str | None = None
    ) -> Self:
        """One thing that is wrong, at one place of the request: give `pointer` or `parameter`.

        pointer: a JSON pointer into the body; parameter: the name of a query or path parameter. `message` is what
        `errors` says of the place, where that is shorter than `detail`.
        """
        if (pointer is None) == (parameter is None):
            raise TypeError("one place is wrong: give a pointer or a parameter")
        place = {"parameter": parameter} if pointer is None else {"pointer": pointer}
        return cls(detail, errors=[place | {"message": message or detail}])


class InvalidRows(Unprocessable):
    slug, title = "invalid-rows", "Some rows break a rule; nothing was stored"
    remedy = "The answer names the first offending rows. Correct or leave them out, and send the whole request again."


class WrongSpace(Unprocessable):
    slug, title = "wrong-space", "The vectors are of another model than the request says; nothing was stored"
    remedy = (
        "`likely_model` names the model that they look like, where one is known. Send them as that model's; or, if you "
        "know better, repeat the request with `space=unchecked`."
    )


class KeyReused(Unprocessable):
    slug, title = "idempotency-key-reused", "This Idempotency-Key was used with another request"
    remedy = "Use a new Idempotency-Key for a new request, and the old one only to repeat the old request."


class TooManyRequests(Problem):
    status, slug, title = 429, "too-many-requests", "This key makes more requests than it may"
    remedy = "Wait as many seconds as Retry-After says. `limit` is how many are allowed."


class Overloaded(Problem):
    status, slug, title = 429, "overloaded", "More requests come than can be answered in time"
    remedy = (
        "Nothing was done. Wait as many seconds as Retry-After says and send the request again; whoever keeps being "
        "refused sends less at one time. GET /metrics shows how long the queues are."
    )

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        """retry_after: seconds after which trying again may help."""
        super().__init__(detail, headers=retry_after_header(retry_after))


class HeadersTooLarge(Problem):
    status, slug, title = 431, "headers-too-large", "The headers are longer than this service takes"
    remedy = "Send fewer or shorter headers: `limit` is the most bytes of a request before its body."


class InternalError(Problem):
    """The message never carries the exception's text: that goes to the log, under the request id."""


class DamagedFile(Problem):
    slug, title = "damaged-file", "A file of the store is not what was written"
    remedy = (
        "`crosswalk verify` names every such file. Restore it from a backup; what is derived from others, "
        "`crosswalk verify --repair` makes anew."
    )


class DamagedArtifact(Problem):
    slug, title = "corrupt-artifact", "A file that was learned here is not what was saved"
    remedy = (
        "Restore the upgrade's folder below artifacts/ from a backup, or roll the upgrade back and start it anew; no "
        "item's own vector is touched."
    )


class Unavailable(Problem):
    status, slug, title = 503, "unavailable", "Not able to answer right now; try again"
    retry_after: ClassVar[int] = 2
    """Seconds after which trying again may help, as the Retry-After header says."""
    remedy = "Wait a few seconds and try again. GET /readyz says which part is not ready."

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail, headers=retry_after_header(self.retry_after), **members)


class EmbedderWrong(Problem):
    status, slug, title = 502, "embedder-wrong", "An embedder refuses, or does not answer as it should"
    remedy = (
        "`detail` says what it answered. Whoever runs the service looks at the connection that `connection` names, and "
        "whoever registered the model at its `embedder` and `dimension`."
    )

    def __init__(self, detail: str, *, maybe_paid: bool = True, **members: Any) -> None:
        """maybe_paid: as of EmbedderAway; whoever answers what cannot be used may charge for it."""
        super().__init__(detail, **members)
        self.maybe_paid = maybe_paid


class EmbedderAway(Unavailable):
    slug, title = "embedder-away", "An embedder does not answer right now"
    retry_after = 5
    remedy = (
        "Wait as many seconds as Retry-After says. If it stays so, whoever runs the service looks whether the embedder "
        "that `connection` names runs, and has its limits raised."
    )

    def __init__(self, detail: str, *, after: float | None = None, maybe_paid: bool = False, **members: Any) -> None:
        """after: seconds that the embedder asked to be left alone. maybe_paid: whether it may have done, and charged
        for, what its answer did not come of. in_vain: set once a request was tried as often as its connection says."""
        super().__init__(detail, **members)
        self.after = after
        self.maybe_paid = maybe_paid
        self.in_vain = False
        if after is not None:
            self.headers = retry_after_header(math.ceil(after))


class DiskFull(Unavailable):
    """503, so that clients try again: the request is right, and goes through once there is space."""

    slug, title = "disk-full", "A disk is full; try again once there is space"
    retry_after = 10
    remedy = (
        "Free space on the disk that `folder` is on, or give it more, and send the request again. Nothing has to be "
        "restarted. Reading and searching go on meanwhile."
    )


class DiskFailing(Unavailable):
    slug, title = "disk-failing", "A disk cannot be written or read"
    remedy = "Look at the system's log and the disk's health, and keep a copy of what can still be read."


class IndexEngineAway(Unavailable):
    slug, title = "index-engine-away", "The server that keeps the indexes does not answer"
    retry_after = 5
    remedy = (
        "Whoever runs the service looks whether Milvus runs, and whether the settings `milvus_uri` and `milvus_token` "
        "are right. Nothing has to be restarted here once it answers."
    )


class IndexEngineRefuses(Unavailable):
    slug, title = "index-engine-refuses", "The server that keeps the indexes answers with an error"
    remedy = "The log of the service has what Milvus says. It may pass; if not, whoever runs Milvus looks there."


class GalleryStoreAway(Unavailable):
    slug, title = "gallery-store-away", "The store in which the gallery's items lie does not answer"
    retry_after = 5
    remedy = (
        "Whoever runs the service looks whether that store runs, and whether its connection in the file of the setting "
        "`connections` is right. Nothing has to be restarted here once it answers."
    )


class IndexLost(Unavailable):
    slug, title = "index-lost", "The server that keeps the indexes has lost one"
    remedy = "Try again: items are compared one by one until the index is made anew, which happens by itself."


class ObjectStoreAway(Unavailable):
    slug, title = "store-away", "The object store does not answer, or refuses"
    retry_after = 5
    remedy = (
        "Whoever runs the service looks whether the object store of the setting `storage_url` runs, and whether the "
        "AWS_* variables (endpoint, region, credentials) are right. Nothing has to be restarted here once it answers."
    )


def retry_after_header(seconds: int) -> dict[str, str]:
    """The header that names when to try again: in a second at the earliest."""
    return {"Retry-After": str(max(1, seconds))}


def all_problems() -> list[type[Problem]]:
    """Every concrete problem, for the documentation."""
    concrete: list[type[Problem]] = []
    pending = Problem.__subclasses__()
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        concrete.append(cls)
    return sorted(concrete, key=lambda cls: (cls.status, cls.slug))
