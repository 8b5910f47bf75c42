"""The newest version of a Lance dataset, asked for at every search, and so without listing all that are kept."""

from pathlib import Path

import lance

_LAST = 2**64 - 1  # a manifest is named for what its version lacks to this, so that the newest is the first by name


class NewestVersion:
    """Asks Lance, which lists a folder with a file for each version, only where there may be a newer one than before.

    Versions are committed one after the other, each by the creation of its own manifest. So a version known to be the
    newest still is, unless there is the manifest of the next; or that came, and was cleaned up since. Versions are
    cleaned up no sooner than an hour after they were written: by then the folder's modification time is another than
    when it was listed.
    """

    def __init__(self, dataset: lance.LanceDataset, folder: Path) -> None:
        """folder: where the dataset lies, if that is on a disk of this machine."""
        self._dataset = dataset
        self._manifests = folder / "_versions"
        self._known: tuple[int, int] | None = None

    def get(self) -> int:
        """The newest committed version, whoever committed it."""
        try:
            changed = self._manifests.stat().st_mtime_ns
        except OSError:  # somewhere else than on a disk; or gone, which Lance says in its own words
            return int(self._dataset.latest_version)
        known = self._known
        if known is not None and known[1] == changed and not self._manifest(known[0] + 1).exists():
            return known[0]
        newest = int(self._dataset.latest_version)
        if self._manifest(newest).exists():  # it is named as it is looked for
            self._known = (newest, changed)  # as it was before the folder was listed
        return newest

    def _manifest(self, version: int) -> Path:
        return self._manifests / f"{_LAST - version:020}.manifest"
