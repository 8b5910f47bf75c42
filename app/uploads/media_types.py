"""The media types of bodies, named once, and the other spellings of them that clients send."""

from email.message import Message

from app.problems import UnsupportedMediaType

JSON = "application/json"
NDJSON = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
NPZ = "application/x-npz"
NPY = "application/x-npy"
TEXT = "text/plain"
CSV = "text/csv"
TSV = "text/tab-separated-values"

BULK = (PARQUET, ARROW, ARROW_FILE, NPZ, JSON, NDJSON)
QUERY_COLUMNS = (NPZ, ARROW, ARROW_FILE)
QUERIES = (NPY, *QUERY_COLUMNS)
JUDGEMENTS = (TSV, TEXT, CSV)

_SPELLINGS = {
    JSON: ("text/json",),
    NDJSON: (
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/json-lines",
    ),
    PARQUET: ("application/parquet", "application/x-parquet"),
    ARROW: ("application/x-apache-arrow-stream", "application/vnd.apache.arrow", "application/arrow"),
    ARROW_FILE: ("application/x-apache-arrow-file", "application/feather", "application/x-feather"),
    NPZ: ("application/npz", "application/x-numpy-npz"),
    NPY: ("application/npy", "application/x-numpy-npy", "application/x-numpy"),
    TEXT: (),
    CSV: ("application/csv",),
    TSV: ("text/tsv",),
}
_NAMED = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in (name, *spellings)}


_UTF_8 = (None, "utf-8", "utf8", "us-ascii")
_SHOWN = 80


def is_json(content_type: str | None) -> bool:
    """Whether a Content-Type names JSON as FastAPI takes it: application/json, or one that ends in +json."""
    main, _, subtype = _parsed(content_type).get_content_type().partition("/")
    return main == "application" and (subtype == "json" or subtype.endswith("+json"))


def named(content_type: str | None) -> str | None:
    """The media type of a Content-Type in the spelling used here, without its parameters; None where there is none, or
    it is unknown."""
    if (content_type or "").partition(";")[0].count("/") != 1:  # reads as text/plain
        return None
    return JSON if is_json(content_type) else _NAMED.get(_parsed(content_type).get_content_type())


def accepted(content_type: str | None, taken: tuple[str, ...]) -> str:
    """The one of `taken` that a Content-Type names, in whatever spelling. Raises UnsupportedMediaType."""
    media_type = named(content_type)
    if media_type not in taken:
        sent = f"Content-Type {content_type[:_SHOWN]!r} is not taken here" if content_type else None
        problem = sent or "The request has no Content-Type"
        raise UnsupportedMediaType(f"{problem}. Send one of {', '.join(taken)}.", accepted=list(taken))
    return media_type


def preferred(accept: str | None, offered: tuple[str, ...]) -> str:
    """The one of `offered`, in whatever spelling, that an Accept header names first; the first of them where it names
    none. Weights are not looked at: who writes several types writes the one wanted most first."""
    asked = (named(one) for one in (accept or "").split(","))
    return next((media_type for media_type in asked if media_type in offered), offered[0])


def refuse_charset(content_type: str | None) -> None:
    """Raises UnsupportedMediaType for JSON or text whose Content-Type says that it is not UTF-8."""
    media_type = named(content_type)
    if media_type in (JSON, NDJSON, *JUDGEMENTS) and _parsed(content_type).get_content_charset() not in _UTF_8:
        what = "text" if media_type in JUDGEMENTS else "JSON"
        raise UnsupportedMediaType(
            f"Content-Type {(content_type or '')[:_SHOWN]!r} is not taken; {what} is sent as UTF-8."
        )


def refuse_patch_format(content_type: str | None) -> None:
    """Raises UnsupportedMediaType for JSON that says how to change what is there (RFC 6902, RFC 7396): nothing is
    merged here, and who names such a format means that it is."""
    if _parsed(content_type).get_content_subtype() in ("merge-patch+json", "json-patch+json"):
        raise UnsupportedMediaType(
            f"Content-Type {(content_type or '')[:_SHOWN]!r} is not taken: members are replaced, and not merged. Send "
            f"{JSON}.",
            accepted=[JSON],
        )


def refuse_encoded(content_encoding: str | None) -> None:
    """Raises UnsupportedMediaType for a body that is compressed for its journey: sizes are bounded by what comes."""
    if content_encoding is not None and content_encoding.strip().lower() != "identity":
        raise UnsupportedMediaType(
            f"Content-Encoding {content_encoding[:_SHOWN]!r} is not taken; send the body as it is."
        )


def _parsed(content_type: str | None) -> Message:
    """The one reading of a Content-Type; what names no type at all reads as text/plain."""
    message = Message()
    message["content-type"] = content_type or ""
    return message
