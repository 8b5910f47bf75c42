"""Alembic migrations, packaged with the service; `app.migrate` applies them."""
