"""The learning core: a library on its own. torch and numpy; no HTTP, no database, nothing of `app` or `workers`."""
