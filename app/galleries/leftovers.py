"""Which of the files in a gallery's folder one of its generations points at, and which none does.

Only names are read: a damaged table is not opened.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from app.galleries.info import GalleryInfo, generation_tag

# Lance keeps each tag in a file of its own: where that goes, the tag goes.
_TAGS = Path("items.lance", "_refs", "tags")
_DERIVED = ("generations/*", "indexes/*/*", f"{_TAGS}/{generation_tag('*', '*')}.json")


def unnamed_in(folder: Path, info: GalleryInfo) -> set[Path]:
    """The vectors with their checksums, the indexes, and the tags that keep versions of the items readable, which no
    generation points at. `folder`: where the gallery lies."""
    return {path for pattern in _DERIVED for path in folder.glob(pattern)} - _named(folder, info)


def unnamed_keys(folder: str, keys: Iterable[str], info: GalleryInfo) -> set[str]:
    """As `unnamed_in`, of objects in a store, by the keys that all of these begin with. `folder`: the gallery's key."""
    found = {str(unit) for key in keys if (unit := _derived(PurePosixPath(key).relative_to(folder))) is not None}
    return {f"{folder}/{unit}" for unit in found} - {path.as_posix() for path in _named(Path(folder), info)}


def _derived(key: PurePosixPath) -> PurePosixPath | None:
    """What an object is part of, below its gallery's folder: vectors, an index, or a tag; None for what is not derived
    from the items."""
    for pattern in map(PurePosixPath, _DERIVED):
        unit = PurePosixPath(*key.parts[: len(pattern.parts)])
        if unit.match(str(pattern)) and len(unit.parts) == len(pattern.parts):
            return unit
    return None


def _named(folder: Path, info: GalleryInfo) -> set[Path]:
    named = set()
    for number, generation in info.generations.items():
        table = folder / "generations" / f"{number}.lance"
        named |= {table, table.with_name(f"{table.name}.sha256")}
        named.add(folder / "indexes" / str(number) / str(generation.index_name))
        named.add(folder / _TAGS / f"{generation_tag(number, generation.store_version)}.json")
    return named
