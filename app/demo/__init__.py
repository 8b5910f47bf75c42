"""`crosswalk demo`: a whole upgrade, driven over HTTP on real data."""
