"""Tables of LanceDB, on local disk or in object storage.

An upgrade's vectors go to a table of their own, with copies of all columns. Adding a column to the user's table fails
whenever somebody writes to it meanwhile, and filling one rewrites the rows, of which the index is lost.
"""

from app.stores.kinds import StoreKind
from app.stores.lancedb.database import LanceOptions
from app.stores.lancedb.store import LanceStore

KIND = StoreKind(LanceOptions, LanceStore.open)
