"""The newest version of a Lance dataset, asked for at every search, and so without listing all that are kept."""

import os
from pathlib import Path

import lance

from app.short_calls import leave_event_loop
from app.storage.checksums import manifest_path


class NewestVersion:
    """Asks Lance, which lists a folder with a file for each version, only where there may be a newer one than before.

    Versions are committed one after the other, each by the creation of its own manifest. So a version known to be the
    newest still is, unless there is the manifest of the next; or that came, and was cleaned up since. Versions are
    cleaned up no sooner than an hour after they were written: by then the folder's modification time is another than
    when it was listed.
    """

    def __init__(self, dataset: lance.LanceDataset, folder: Path | None) -> None:
        """folder: where the dataset lies; None where that is no disk of this machine, and Lance is always asked."""
        self._dataset = dataset
        self._folder = folder
        self._manifests = "" if folder is None else str(manifest_path(folder, 0).parent)
        self._known: tuple[int, int, str] | None = None

    def get(self) -> int:
        """The newest committed version, whoever committed it."""
        if self._folder is None:
            leave_event_loop()
            return int(self._dataset.latest_version)
        try:
            changed = os.stat(self._manifests).st_mtime_ns
        except OSError:  # gone, which Lance says in its own words
            return int(self._dataset.latest_version)
        known = self._known
        if known is not None and known[1] == changed and not os.path.exists(known[2]):
            return known[0]
        leave_event_loop()
        newest = int(self._dataset.latest_version)
        if manifest_path(self._folder, newest).exists():  # it is named as it is looked for
            # As the folder was before it was listed; and the path of the manifest that would come next.
            self._known = (newest, changed, str(manifest_path(self._folder, newest + 1)))
        return newest
