"""Rows are copied between databases whatever they refer to among themselves."""

from pathlib import Path

from sqlalchemy import select

from app.backup.database_copy import from_file, to_file
from app.storage.database import Database
from app.storage.migrate import migrate
from app.tables import ModelRow


def test_models_that_refer_to_later_ones_arrive_in_the_other_database(
    each_database: Database, tmp_path: Path, postgres_url: str
) -> None:
    chain = {"a": "b", "b": "c", "c": None, "d": "a"}
    with each_database.session() as session:
        for model in ("c", "b", "a", "d"):
            session.add(ModelRow(id=model, dimension=3, metric="l2", compatible_with=chain[model]))
            session.flush()
    counts = to_file(each_database, tmp_path / "copy.sqlite")
    assert counts["models"] == 4
    target = Database(postgres_url)
    from_file(tmp_path / "copy.sqlite", target)
    migrate(target)
    with target.read() as session:
        rows = session.scalars(select(ModelRow)).all()
        assert {row.id: row.compatible_with for row in rows} == chain
        assert all(row.created_at.tzinfo is not None for row in rows)
    target.close()
