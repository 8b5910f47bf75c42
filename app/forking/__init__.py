"""Processes forked from one that has imported what they need (Linux), so that each begins within moments."""
