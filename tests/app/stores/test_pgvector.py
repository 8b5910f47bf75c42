"""pgvector, against a PostgreSQL server: every sort of table passes the contract, and its user is not disturbed."""

from collections.abc import Iterator

import psycopg
import pytest

from app.connections.file import ConfiguredConnection
from app.stores.pgvector import counting
from app.stores.protocol import Place, Store, StoreAway, Target, WrongPlace
from tests.app.stores.contract import StoreContract, held, items_to_write, scanned, unit_rows
from tests.app.stores.pgvector_world import SORTS, PgvectorWorld
from tests.app.stores.world import opened

TARGET = Target("faq-g2", dimension=6, metric="l2")


class TestPgvector(StoreContract):
    @pytest.fixture(params=list(SORTS.values()), ids=list(SORTS))
    def world(self, request: pytest.FixtureRequest, pgvector_url: str) -> PgvectorWorld:
        return PgvectorWorld(pgvector_url, request.param)


class Faq:
    """A user's table of ten questions in an empty schema, and the store that it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE EXTENSION IF NOT EXISTS vector")
        self.run("CREATE TABLE faq (id int PRIMARY KEY, text text, embedding vector(8), changed int DEFAULT 0)")
        for number, row in enumerate(unit_rows(10, 8)):
            self.run("INSERT INTO faq VALUES (%s, 'text', %s)", number, str(row.tolist()))
        self.store = self.opened()

    def opened(self, url: str | None = None, beside: str = "column", **place: str) -> Store:
        options = {"url": url or self.url, "beside": beside}
        connection = ConfiguredConnection("faq-database", "pgvector", options)
        return opened(connection, Place("faq", **place))  # type: ignore[arg-type]  # names alone

    def run(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            while cursor.nextset():  # of several statements, the last one's rows
                pass
            return cursor.fetchall() if cursor.description is not None else []

    def copy(self) -> list[str]:
        """Writes a vector for each row; the ids of those that were not written."""
        self.store.make_target(TARGET)
        return self.store.write(TARGET, items_to_write(scanned(self.store, ["id", "vector", "mark"]), target=TARGET))


@pytest.fixture
def faq(pgvector_url: str) -> Iterator[Faq]:
    faq = Faq(pgvector_url)
    yield faq
    faq.store.close()


def test_a_key_may_be_any_unique_column_and_a_table_without_one_is_refused(faq: Faq) -> None:
    faq.run("ALTER TABLE faq DROP CONSTRAINT faq_pkey, ALTER id DROP NOT NULL, ADD UNIQUE (id)")
    with pytest.raises(WrongPlace, match="no primary key"):
        faq.store.describe()
    with pytest.raises(WrongPlace, match="NOT NULL"):
        faq.opened(id="id").describe()
    faq.run("ALTER TABLE faq ALTER id SET NOT NULL")
    assert faq.opened(id="id").describe().rows == 10


def test_rows_of_a_large_table_are_estimated_where_that_does(faq: Faq, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (faq.store.describe(roughly=True).rows, faq.store.describe(roughly=True).rows_exact) == (10, True)
    monkeypatch.setattr(counting, "MOST_COUNTED", 4)
    faq.run("ANALYZE faq")
    roughly = faq.store.describe(roughly=True)
    assert (roughly.rows, roughly.rows_exact) == (10, False)
    faq.run("DELETE FROM faq WHERE id > 7")
    assert faq.store.describe(roughly=True).rows == 10
    counted = faq.store.describe()
    assert (counted.rows, counted.rows_exact) == (len(faq.run("SELECT id FROM faq")), True)


def test_ids_that_cannot_be_keys_are_unknown_ones(faq: Faq) -> None:
    assert faq.store.by_id(["3", "three", "", "99999999999999999999"], ["id"]).column("id").to_pylist() == ["3"]


def test_no_trigger_of_the_users_is_fired(faq: Faq) -> None:
    faq.run(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed := 1; RETURN NEW; END';"
        "CREATE TRIGGER touched BEFORE UPDATE ON faq FOR EACH ROW EXECUTE FUNCTION touch()"
    )
    assert faq.copy() == []
    assert len(held(faq.store, TARGET)) == 10
    faq.store.erase(TARGET, ["1"])
    assert faq.run("SELECT DISTINCT changed FROM faq") == [(0,)]


def test_a_role_that_cannot_keep_triggers_from_firing_is_refused(faq: Faq) -> None:
    faq.run(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed := 1; RETURN NEW; END';"
        "CREATE TRIGGER touched BEFORE UPDATE ON faq FOR EACH ROW EXECUTE FUNCTION touch()"
    )
    store = faq.opened(as_role(faq, "plain_owner", owns=True))
    store.make_target(TARGET)
    with pytest.raises(WrongPlace, match="touched"):
        store.write(TARGET, items_to_write(scanned(store, ["id", "vector", "mark"]), target=TARGET))
    assert faq.run("SELECT DISTINCT changed FROM faq") == [(0,)]
    store.close()


def test_a_right_that_is_lacking_is_told(faq: Faq) -> None:
    store = faq.opened(as_role(faq, "plain_reader", owns=False))
    assert scanned(store, ["id"]).num_rows == 10
    with pytest.raises(StoreAway, match="lacks a right: must be owner of table faq"):
        store.make_target(TARGET)
    store.close()


def as_role(faq: Faq, role: str, *, owns: bool) -> str:
    """The database's URI for a role that is no superuser."""
    if faq.run("SELECT FROM pg_roles WHERE rolname = %s", role):
        faq.run(f"DROP OWNED BY {role}; DROP ROLE {role}")
    faq.run(f"CREATE ROLE {role} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {role}; GRANT SELECT ON faq TO {role}")
    if owns:
        faq.run(f"ALTER TABLE faq OWNER TO {role}")
    return faq.url.replace("//postgres:", f"//{role}:")


def test_a_row_that_somebody_keeps_locked_is_not_waited_for(faq: Faq) -> None:
    faq.store.make_target(TARGET)
    items = items_to_write(scanned(faq.store, ["id", "vector", "mark"]), target=TARGET)
    with psycopg.connect(faq.url) as other:
        other.execute("SELECT 1 FROM faq WHERE id = 3 FOR UPDATE")
        assert faq.store.write(TARGET, items) == ["3"]
    assert len(held(faq.store, TARGET)) == 9
    assert faq.store.write(TARGET, items) == []


def test_the_index_is_like_that_of_the_old_vectors(faq: Faq) -> None:
    faq.run("CREATE INDEX ON faq USING hnsw (embedding vector_ip_ops) WITH (m = 5, ef_construction = 33) WHERE id > 2")
    assert faq.store.describe().metric == "ip"
    faq.copy()
    faq.store.build_index(TARGET)
    ((made,),) = faq.run("SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%%faq-g2%%'")
    assert 'hnsw ("faq-g2" vector_ip_ops) WITH (m' in str(made)
    assert "ef_construction='33'" in str(made)
    assert "(id > 2)" in str(made)


def test_all_indexes_of_the_old_vectors_are_built_once(faq: Faq) -> None:
    faq.run(
        "CREATE INDEX ON faq USING hnsw (embedding vector_l2_ops); CREATE INDEX ON faq USING hnsw (embedding "
        "vector_cosine_ops) WHERE id > 2"
    )
    faq.copy()
    for _ in range(2):
        faq.store.build_index(TARGET)
        made = faq.run("SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%%faq-g2%%' ORDER BY indexname")
        assert len(made) == 2
        assert "vector_l2_ops" in str(made[0])
        assert "vector_cosine_ops) WHERE (id > 2)" in str(made[1])


def test_half_an_index_is_built_anew(faq: Faq) -> None:
    faq.copy()
    faq.store.build_index(TARGET)
    faq.run("UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text LIKE 'crosswalk%%'")
    faq.store.build_index(TARGET)
    assert faq.run("SELECT indisvalid FROM pg_index WHERE indexrelid::regclass::text LIKE 'crosswalk%%'") == [(True,)]


def test_readers_of_the_view_use_the_index_and_keep_their_rights(faq: Faq) -> None:
    as_role(faq, "plain_reader", owns=False)
    faq.copy()
    faq.store.build_index(TARGET)
    told = faq.store.switch(TARGET)
    assert told.statement is not None
    assert "faq_current" in told.statement
    assert faq.store.switch(TARGET).statement is None
    plan = faq.run(
        "SET enable_seqscan = off; EXPLAIN SELECT id FROM faq_current ORDER BY embedding <-> '[1,2,3,4,5,6]' LIMIT 3"
    )
    assert any("Index Scan using crosswalk_" in str(line) for (line,) in plan)
    rights = "SELECT has_table_privilege('plain_reader', 'faq_current', 'SELECT')"
    assert faq.run(rights) == [(True,)]
    faq.run("REVOKE SELECT ON faq_current FROM plain_reader")
    faq.store.switch_back(TARGET)
    assert faq.run(rights) == [(False,)]


def test_a_table_beside_leaves_the_rows_alone_and_is_found_in_by_its_index(faq: Faq) -> None:
    as_role(faq, "plain_reader", owns=False)
    rows = faq.run("SELECT id, xmin::text, ctid::text FROM faq ORDER BY id")
    faq.run("CREATE INDEX ON faq USING hnsw (embedding vector_l2_ops)")
    faq.store = faq.opened(beside="table")
    assert faq.copy() == []
    faq.store.build_index(TARGET)
    faq.store.switch(TARGET)
    assert faq.run("SELECT id, xmin::text, ctid::text FROM faq ORDER BY id") == rows
    plan = faq.run(
        "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
        "EXPLAIN SELECT id, text FROM faq_current ORDER BY embedding <-> '[1,2,3,4,5,6]' LIMIT 3"
    )
    assert any("Index Scan using crosswalk_" in str(line) for (line,) in plan), plan
    seen = "SET ROLE plain_reader; SELECT count(*) FROM faq_current"
    assert faq.run(seen) == [(10,)]


def test_a_table_that_is_locked_is_told_where_the_target_is_one_beside_it(faq: Faq) -> None:
    faq.store = faq.opened(beside="table")
    faq.store.make_target(TARGET)
    items = items_to_write(scanned(faq.store, ["id", "vector", "mark"]), target=TARGET)
    with psycopg.connect(faq.url) as other:
        other.execute("LOCK TABLE faq IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreAway, match="lock timeout"):
            faq.store.write(TARGET, items)
    assert faq.store.write(TARGET, items) == []


def test_no_table_is_made_beside_one_with_row_security(faq: Faq) -> None:
    faq.run("ALTER TABLE faq ENABLE ROW LEVEL SECURITY")
    with pytest.raises(WrongPlace, match="'faq' has row security"):
        faq.opened(beside="table").make_target(TARGET)


def test_a_view_whose_name_would_be_cut_off_is_refused(faq: Faq) -> None:
    name = "f" * 60
    faq.run(f"ALTER TABLE faq RENAME TO {name}")
    connection = ConfiguredConnection("faq-database", "pgvector", {"url": faq.url})
    store = opened(connection, Place(name))
    store.make_target(TARGET)
    with pytest.raises(WrongPlace, match="at most 63 bytes"):
        store.switch(TARGET)
    store.close()


def test_what_is_made_belongs_to_the_owner_of_the_table(faq: Faq) -> None:
    as_role(faq, "plain_owner", owns=True)
    faq.store = faq.opened(beside="table")
    assert faq.copy() == []
    faq.store.switch(TARGET)
    faq.store.switch(TARGET)
    owners = "SELECT relowner::regrole::text FROM pg_class WHERE relname IN ('faq_current', 'faq-g2')"
    assert faq.run(owners) == [("plain_owner",), ("plain_owner",)]


def test_a_view_of_the_users_own_is_not_replaced(faq: Faq) -> None:
    faq.run("CREATE VIEW faq_current AS SELECT 1 AS one")
    faq.copy()
    with pytest.raises(WrongPlace, match="faq_current"):
        faq.store.switch(TARGET)
    assert faq.run("SELECT * FROM faq_current") == [(1,)]


def test_an_upgrade_of_upgraded_vectors_is_shown_under_the_first_name(faq: Faq) -> None:
    faq.copy()
    faq.store.switch(TARGET)
    second = faq.opened(vector=TARGET.name)
    third = Target("faq-g3", dimension=4, metric="l2")
    second.make_target(third)
    written = items_to_write(scanned(second, ["id", "vector", "mark"]), target=third)
    assert second.write(third, written) == []
    second.switch(third)
    assert faq.run("SELECT DISTINCT vector_dims(embedding) FROM faq_current") == [(4,)]
    second.switch_back(third)
    assert faq.run("SELECT DISTINCT vector_dims(embedding) FROM faq_current") == [(6,)]
    second.close()


def test_a_connection_that_broke_is_opened_again(faq: Faq) -> None:
    faq.copy()
    faq.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'crosswalk'"
        " AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    with pytest.raises(StoreAway):
        faq.store.describe()
    assert faq.store.describe().rows == 10
    assert faq.copy() == []


def test_vectors_of_several_dimensions_are_refused(faq: Faq) -> None:
    faq.run("ALTER TABLE faq ALTER embedding TYPE vector; UPDATE faq SET embedding = '[1,2,3]' WHERE id = 4")
    with pytest.raises(WrongPlace, match="several dimensions"):
        scanned(faq.store, ["vector"])
