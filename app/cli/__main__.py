"""`python -m app.cli` is `crosswalk`."""

from app.cli import main

main()
