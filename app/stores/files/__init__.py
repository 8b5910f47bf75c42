"""Parquet files, Arrow files, and datasets that Hugging Face's `save_to_disk` wrote, below a folder of the operator's.

Transformed vectors go to a folder of Parquet files beside. Which of the two is read, the user's application decides:
nothing tells readers of files.
"""

from app.stores.files.folder import FilesOptions
from app.stores.files.store import FileStore
from app.stores.kinds import StoreKind

KIND = StoreKind(FilesOptions, FileStore.open)
