"""An upgrade from files alone: learned and proved as the service does, in a data directory that is gone afterwards."""
