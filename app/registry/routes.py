"""HTTP of the registry."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from fastapi.responses import FileResponse

from app.composition import Parts
from app.embedders.choice import EmbedderChoice
from app.http.etag import etag
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.ids import ModelId, ResourceId
from app.keys.access import Caller
from app.problems import BadRequest, IdTaken, InUse, NotFound, Unprocessable, WrongState
from app.registry.schemas import EXAMPLES, UNUSED, Model, NewModel
from app.spaces.watch import Stream

router = APIRouter(prefix="/models", tags=["models"])


@router.post(
    "",
    summary="Register a model version",
    status_code=201,
    responses={
        200: {"model": Model, "description": "Registered before, with this very body"},
        **problems(IdTaken, Unprocessable),
    },
)
def create(new: Annotated[NewModel, Body(openapi_examples=EXAMPLES)], parts: Parts, response: Response) -> Model:
    """Says that there is an embedding model, how long its vectors are and how they are compared. Doing it twice is
    harmless: the same body answers 200, another body 409."""
    model, created = parts.models.create(new)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/models/{model.id}"
    return parts.encoders.shown([model])[0]


@router.get("", summary="List the model versions", responses=problems(BadRequest))
def list_(paging: Paging, parts: Parts) -> Page[Model]:
    """In order of their ids, a page at a time."""
    return paging.page(
        lambda cursor, limit: parts.encoders.shown(parts.models.rows_after(cursor, limit)), key=lambda model: model.id
    )


@router.get("/{model}", summary="Look up a model version", responses=problems(NotFound))
def get(model: ModelId, caller: Caller, parts: Parts) -> Model:
    """One model version; where it was trained here, by what and how far that is, and which model it is compatible with
    or stands beside."""
    shown = parts.encoders.shown([parts.models.get(model)])[0]

    def sees(stream: Stream) -> bool:
        return caller.sees_dataset(stream[1]) if stream[0] == "rows" else caller.sees_gallery(stream[1])

    return shown.model_copy(update={"warnings": parts.streams.warnings(model, sees)})


@router.put("/{model}/embedder", summary="Name a model's embedder", responses=problems(NotFound, Unprocessable))
def set_embedder(model: ModelId, embedder: EmbedderChoice, parts: Parts) -> Model:
    """Says what makes this model's vectors, where it was registered without, or where its embedder has moved. It must
    be the same model: vectors of different models are never compared."""
    return parts.encoders.shown([parts.models.set_embedder(model, embedder)])[0]


@router.get(
    "/{model}/artifact",
    summary="Download a model trained here",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(NotFound, WrongState),
    },
)
def artifact(model: ModelId, parts: Parts) -> FileResponse:
    """Weights (safetensors), configuration, what its input must look like, and a card that says what it was trained on
    and how well it does: one zip. Ranges can be asked for, and `ETag` is the file's SHA-256."""
    path = parts.downloads.model(model)
    return FileResponse(path, filename=f"{model}.zip", media_type="application/zip", headers={"ETag": etag(path)})


@router.delete("/{model}", summary="Remove a model version", status_code=204, responses=problems(NotFound, InUse))
def delete(model: Annotated[ResourceId, Path(description="A model's id.", examples=[UNUSED])], parts: Parts) -> None:
    """Forgets a model version. One that a gallery, dataset or upgrade needs stays; the answer names what needs it."""
    known = parts.spaces.known(model)
    parts.models.delete(model)
    parts.spaces.forget(known)
    parts.streams.forget(lambda stream: stream[2] == model)
