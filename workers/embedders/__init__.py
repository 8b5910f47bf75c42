"""Embedders as workers open them: over HTTP as the gateway does, or from a folder, with torch."""
