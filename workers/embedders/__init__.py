"""Embedders as workers open them: over HTTP as the gateway does, or with torch, from a folder or as trained here."""
