"""Upgrades: the long-running operation that takes galleries from one model to another."""
