"""HTTP of the keys."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from app.composition import Parts
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.keys.access import Access, Caller
from app.keys.admission import FIRST_KEY
from app.keys.schemas import EXAMPLES, CreatedKey, Key, NewKey, Rotation
from app.problems import BadRequest, Conflict, NotFound, WrongState

router = APIRouter(prefix="/keys", tags=["keys"])

KeyId = Annotated[str, Path(description="What stands between `cwk_` and the secret.", examples=["0123456789ab"])]


@router.post("", summary="Make a key", status_code=201, responses=problems(WrongState))
def create(
    new: Annotated[NewKey, Body(openapi_examples=EXAMPLES)], caller: Caller, parts: Parts, response: Response
) -> CreatedKey:
    """This answer alone has the key: only its hash is stored. The first key of all is made on the service's machine, by
    `crosswalk keys create`, or is the setting `admin_key`."""
    _require_keys(caller)
    created = parts.keys.create(new)
    return _shown_once(created, parts, response)


@router.get("", summary="List the keys", responses=problems(BadRequest))
def list_(paging: Paging, parts: Parts) -> Page[Key]:
    """Those that have ended too, without their secrets, a page at a time."""
    parts.key_ring.note_last_use()
    return paging.page(parts.keys.rows_after, key=lambda key: key.id)


@router.get("/{key}", summary="Look up a key", responses=problems(NotFound, WrongState))
def get(key: KeyId, caller: Caller, parts: Parts) -> Key:
    """What it may do, and when it was last used; never its secret."""
    _require_keys(caller)
    parts.key_ring.note_last_use()
    return parts.keys.get(key)


@router.post("/{key}/rotate", summary="Replace a key", status_code=201, responses=problems(NotFound, WrongState))
def rotate(key: KeyId, rotation: Rotation, caller: Caller, parts: Parts, response: Response) -> CreatedKey:
    """Makes a new key that may do what this one may. This one ends at `until`; left out, at once."""
    _require_keys(caller)
    created = parts.keys.rotate(key, rotation.until)
    return _shown_once(created, parts, response)


@router.delete("/{key}", summary="Revoke a key", status_code=204, responses=problems(NotFound, Conflict, WrongState))
def revoke(key: KeyId, caller: Caller, parts: Parts) -> None:
    """Ends it for good: at once in this gateway, within a second in every other. Doing it twice is harmless.

    The last admin's key stays: rotate it, or revoke it on the service's machine with `crosswalk keys revoke`."""
    _require_keys(caller)
    parts.keys.revoke(key, even_last_admin=parts.settings.admin_secret() is not None)
    parts.key_ring.changed()


def _require_keys(caller: Access) -> None:
    """Raises WrongState on a service without keys: whoever made its first key here would lock everybody else out."""
    if caller.key is None:
        raise WrongState(f"This service has no keys yet. Make the first on its machine: {FIRST_KEY}.")


def _shown_once(created: CreatedKey, parts: Parts, response: Response) -> CreatedKey:
    parts.key_ring.changed()
    response.headers["Location"] = f"/keys/{created.id}"
    response.headers["Cache-Control"] = "no-store"
    return created
