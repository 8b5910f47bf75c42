"""PostgreSQL tables with a pgvector column, `vector` or `halfvec`; an upgrade's vectors go to a column beside it."""

from app.stores.kinds import StoreKind
from app.stores.pgvector.connecting import PgvectorOptions
from app.stores.pgvector.store import PgvectorStore

KIND = StoreKind(PgvectorOptions, PgvectorStore)
