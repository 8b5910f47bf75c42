"""Where things are kept: the SQL database with its migrations, and Lance tables."""
