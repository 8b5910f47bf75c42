"""The media types of bodies, named once."""

from app.problems import UnsupportedMediaType

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
NPZ = "application/x-npz"
NPY = "application/x-npy"

BULK = (PARQUET, ARROW, NPZ, JSON)
QUERIES = (NPY, ARROW)


def accepted(content_type: str | None, taken: tuple[str, ...]) -> str:
    """The media type that a Content-Type names, without its parameters. Raises UnsupportedMediaType."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type not in taken:
        problem = f"Content-Type {media_type!r} is not taken here" if media_type else "The request has no Content-Type"
        raise UnsupportedMediaType(f"{problem}. Send one of {', '.join(taken)}.", accepted=list(taken))
    return media_type
