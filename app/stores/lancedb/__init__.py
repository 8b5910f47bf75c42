"""Tables of LanceDB, on local disk or in object storage. An upgrade's vectors go to a table of their own, with copies of
all columns: a column added to the user's table is lost to whoever writes to it meanwhile, and filling it rewrites rows.
"""

from app.stores.kinds import StoreKind
from app.stores.lancedb.database import LanceOptions
from app.stores.lancedb.store import LanceStore

KIND = StoreKind(LanceOptions, LanceStore.open)
