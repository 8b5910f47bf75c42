"""Sessions: what is read together is of one moment."""

from sqlalchemy import select

from app.registry.tables import ModelRow
from app.storage.database import Database


def test_what_one_session_reads_is_all_of_one_moment(each_database: Database) -> None:
    with each_database.read() as session:
        assert session.scalars(select(ModelRow.id)).all() == []
        with each_database.session() as writing:
            writing.add(ModelRow(id="m", dimension=3, metric="l2"))
        assert session.scalars(select(ModelRow.id)).all() == []
    with each_database.read() as session:
        assert session.scalars(select(ModelRow.id)).all() == ["m"]
