"""What an upgrade's report says of a gallery: its proof, its backfill curve, and priced advice."""
