"""How jobs are run: the Celery worker, the supervisor that claims them, and the process of a step."""
