"""Collections of a Milvus server. An upgrade's vectors go to a collection of their own, with copies of all fields,
since Milvus adds no vector to a collection; where the user's application reads through an alias, that is what switches.
"""

from app.stores.kinds import StoreKind
from app.stores.milvus.calls import MilvusOptions
from app.stores.milvus.store import MilvusStore

KIND = StoreKind(MilvusOptions, MilvusStore.open)
