"""What search needs before an upgrade serves: indexes, their tuning, and cascades."""
