"""Elasticsearch's indexes with a dense_vector; an upgrade's vectors go to a further field."""

from app.stores.elasticsearch.store import ElasticsearchOptions, ElasticsearchStore
from app.stores.kinds import StoreKind

KIND = StoreKind(ElasticsearchOptions, ElasticsearchStore.open)
