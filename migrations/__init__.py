"""Alembic migrations, packaged with the service; `app.storage.migrate` applies them."""
