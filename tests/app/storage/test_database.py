"""Sessions: what is read together is of one moment."""

from contextlib import suppress
from typing import Any

from sqlalchemy import URL, make_url, select

from app.registry.tables import ModelRow
from app.settings import Settings
from app.storage.database import Database, once_committed


def test_what_one_session_reads_is_all_of_one_moment(each_database: Database) -> None:
    with each_database.read() as session:
        assert session.scalars(select(ModelRow.id)).all() == []
        with each_database.session() as writing:
            writing.add(ModelRow(id="m", dimension=3, metric="l2"))
        assert session.scalars(select(ModelRow.id)).all() == []
    with each_database.read() as session:
        assert session.scalars(select(ModelRow.id)).all() == ["m"]


def test_what_waits_for_a_commit_is_done_when_its_connection_is_free_again(
    each_database: Database, each_settings: Settings
) -> None:
    database, seen = Database(each_settings.sqlalchemy_url, connections=1), list[str]()

    def look() -> None:
        with database.read() as session:
            seen.extend(session.scalars(select(ModelRow.id)))

    with database.session() as session:
        session.add(ModelRow(id="m", dimension=3, metric="l2"))
        once_committed(session, look)
        assert seen == []
    assert seen == ["m"]
    with suppress(LookupError), database.session() as session:
        once_committed(session, look)
        raise LookupError("thought better of it")
    assert seen == ["m"]
    database.close()


def test_what_fails_after_a_commit_fails_no_request_and_keeps_nothing_else_from_being_done(database: Database) -> None:
    done = list[str]()

    def fail() -> None:
        raise LookupError("gone meanwhile")

    with database.session() as session:
        session.add(ModelRow(id="m", dimension=3, metric="l2"))
        once_committed(session, fail)
        once_committed(session, lambda: done.append("the rest"))
    assert done == ["the rest"]


def test_a_server_that_goes_away_without_a_word_is_noticed_in_time_unless_the_url_says_otherwise(
    postgres_url: str,
) -> None:
    def parameters(url: URL) -> dict[str, str]:
        database = Database(url.render_as_string(hide_password=False))
        with database.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            told = dict(driver.info.get_parameters())
        database.close()
        return told

    url = make_url(postgres_url)
    asked = parameters(url)
    assert 0 < int(asked["tcp_user_timeout"]) <= 30_000
    seconds = int(asked["keepalives_idle"]) + int(asked["keepalives_interval"]) * int(asked["keepalives_count"])
    assert seconds <= 30
    assert parameters(url.update_query_dict({"tcp_user_timeout": "7000"}))["tcp_user_timeout"] == "7000"
