"""`python -m migrations "why"` writes a revision that takes the newest schema to what the tables now say."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from app.storage.database import Database
from app.storage.migrate import configuration, migrate


def main(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/scratch.db")
        migrate(database)
        config = configuration()
        number = len(list((Path(__file__).parent / "versions").glob("[0-9]*.py"))) + 1
        with database.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.revision(config, message, autogenerate=True, rev_id=f"{number:04}")
        database.close()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
