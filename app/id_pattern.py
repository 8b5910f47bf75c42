"""What ids that users choose look like; alone here, since the command line reads it without the service's libraries."""

ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
