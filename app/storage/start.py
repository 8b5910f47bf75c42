"""Whether a process may start: that its data directory and its object store belong together, and can be used."""

import secrets
from pathlib import Path

from app.problems import ObjectStoreAway
from app.settings import Settings
from app.storage.shared_files import shared_files
from models.portable import publish

_MARK = "storage-url"
_TABLES = ("galleries/*/items.lance", "datasets/*/rows.lance")


def why_not_start(settings: Settings) -> str | None:
    """What keeps a process from starting, and what to do about it; None where nothing does.

    A data directory is for good of one store, whose URL is kept in it: with another, or with none, the database would
    name what is not there.
    """
    mark, url = settings.data_dir / _MARK, settings.storage_url
    kept = mark.read_text().strip() if mark.exists() else None
    if kept is not None and kept != url:
        return (
            f"The data directory {settings.data_dir} has copies of what {kept} keeps, and CROSSWALK_STORAGE_URL is "
            f"{url or 'not set'}. Set it to {kept}, or name another data directory."
        )
    if url is None:
        return None
    if kept is None and any(any(settings.data_dir.glob(pattern)) for pattern in _TABLES):
        return (
            f"The data directory {settings.data_dir} keeps galleries or datasets itself, which CROSSWALK_STORAGE_URL "
            "would leave behind. Name a data directory of its own for what is in the object store; docs/storage.md "
            "says how a service is moved there."
        )
    store = shared_files(settings).store
    assert store is not None
    try:
        safe = store.refuses_to_overwrite()
    except ObjectStoreAway as problem:
        return f"{problem.detail.rstrip('.')}. {problem.remedy}"
    if not safe:
        return (
            f"The object store {url} overwrites an object that is written with `If-None-Match: *`, by which two "
            "writers would lose each other's items. Use one that has conditional writes."
        )
    if kept is None:
        _mark(mark, url)
    return None


def _mark(mark: Path, url: str) -> None:
    """Keeps a store's URL in a file that appears whole, since others who start beside this one read it."""
    own = mark.with_name(f".{mark.name}.{secrets.token_hex(8)}")
    publish(own, f"{url}\n".encode())
    own.replace(mark)
