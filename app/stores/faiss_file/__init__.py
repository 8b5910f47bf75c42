"""FAISS index files below a folder of the operator's, each with its ids.

Ids are in the index, in a file beside, or the numbers of the vectors. An upgrade's vectors go to an index of the same
type in another file.
"""

from app.stores.faiss_file.store import FaissFileStore
from app.stores.files.folder import FilesOptions
from app.stores.kinds import StoreKind

KIND = StoreKind(FilesOptions, FaissFileStore.open)
