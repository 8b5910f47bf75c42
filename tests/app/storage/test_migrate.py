"""Migrations make the tables that the code declares, whoever applies them, and however many at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text

import app
from app.failpoints import Failpoint
from app.galleries.generations import TargetOrder
from app.jobs.tables import JobRow
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import configuration, migrate, pending
from app.stores.protocol import Target
from app.tables import metadata
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(app.__file__).parent.parent


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, settings: Settings) -> Database:
    """A database without a table."""
    return Database(settings.sqlalchemy_url if request.param == "sqlite" else request.getfixturevalue("postgres_url"))


def test_migrations_make_exactly_the_declared_tables(empty: Database) -> None:
    migrate(empty)
    with empty.engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    empty.close()


def test_a_database_lacking_migrations_says_so(empty: Database) -> None:
    assert pending(empty)
    migrate(empty)
    assert not pending(empty)
    migrate(empty)
    assert not pending(empty)
    empty.close()


def test_a_database_from_the_future_is_left_alone(empty: Database) -> None:
    migrate(empty)
    with empty.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert pending(empty)
    with pytest.raises(Exception, match="9999"):
        migrate(empty)
    empty.close()


def test_every_migration_can_be_taken_back(empty: Database) -> None:
    migrate(empty)
    config = configuration()
    with empty.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(empty.engine).get_table_names() == ["alembic_version"]
    empty.close()


def test_processes_that_migrate_at_once_all_succeed(empty: Database) -> None:
    script = (
        "import sys; from app.storage.database import Database; from app.storage.migrate import migrate; "
        "migrate(Database(sys.argv[1]))"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", script, empty.url], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for starter in starters:
        _, errors = starter.communicate(timeout=PATIENCE_SECONDS)
        assert starter.returncode == 0, errors.decode()
    assert not pending(empty)
    empty.close()


def test_upgrades_of_an_older_database_are_kept(empty: Database) -> None:
    config = configuration()
    with empty.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        now = "'2026-01-01 00:00:00'"
        for model in ("old", "new"):
            connection.execute(
                text(f"INSERT INTO models (id, dimension, metric, created_at) VALUES ('{model}', 2, 'ip', {now})")
            )
        connection.execute(
            text(
                "INSERT INTO upgrades (id, source, target, request, galleries, state, created_at, updated_at) "
                f"VALUES ('u', 'old', 'new', '{{}}', '[]', 'active', {now}, {now})"
            )
        )
    migrate(empty)
    with empty.read() as session:
        assert session.execute(text("SELECT id, source, target FROM upgrades")).all() == [("u", "old", "new")]
        assert inspect(session.connection()).get_foreign_keys("upgrades") == []
    empty.close()


@pytest.mark.parametrize(("folder", "named"), [("faq-1234abcd", "faq-1234abcd"), ("faq-5678abcd", "gone-1234abcd")])
def test_what_an_older_release_was_about_to_drop_is_still_dropped(empty: Database, folder: str, named: str) -> None:
    store = {"connection": "shop", "place": {"table": "items"}}
    target = {"name": "crosswalk_1234abcd_2", "dimension": 2, "metric": "ip"}
    order = {"upgrade": "u", "store": store, "target": target}
    config = configuration()
    with empty.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        now = "'2026-01-01 00:00:00'"
        connection.execute(text(f"INSERT INTO models (id, dimension, metric, created_at) VALUES ('m', 2, 'ip', {now})"))
        connection.execute(
            text(
                "INSERT INTO galleries (id, folder, model, index_options, active, created_at) "
                f"VALUES ('faq', '{folder}', 'm', '{{}}', 1, {now})"
            )
        )
        for job, state, arguments in (
            ("waits", "queued", order),
            ("runs", "running", order),
            ("ended", "succeeded", order),
            ("new", "queued", {"folder": "faq-1234abcd", "store": store, "target": target}),
        ):
            connection.execute(
                text(
                    "INSERT INTO jobs (id, step, subject, arguments, state, attempts, available_at, cancel_requested, "
                    f"checkpoint, created_at) VALUES ('{job}', 'drop_target', 's', :arguments, '{state}', 0, {now}, "
                    f"false, '{{}}', {now})"
                ),
                {"arguments": json.dumps(arguments)},
            )
    migrate(empty)
    with empty.read() as session:
        jobs = {job.id: job.arguments for job in session.scalars(select(JobRow))}
    drop = TargetOrder(named, store, Target("crosswalk_1234abcd_2", 2, "ip"))
    assert TargetOrder.from_json(jobs["waits"]) == TargetOrder.from_json(jobs["runs"]) == drop
    assert jobs["ended"] == order
    assert jobs["new"]["folder"] == "faq-1234abcd"
    empty.close()


def test_a_migration_that_was_cut_off_leaves_nothing_behind_and_is_done_by_the_next(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_: Failpoint) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patched:
        patched.setattr("app.storage.migrate.reached", cut_off)
        with pytest.raises(ConnectionAbortedError):
            migrate(empty)
    assert inspect(empty.engine).get_table_names() == []
    assert pending(empty)
    migrate(empty)
    assert not pending(empty)
    empty.close()
