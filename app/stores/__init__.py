"""Galleries whose items lie in the user's own store, which stays where it is."""
