"""Nearest neighbours: exact, approximate, and on the sphere."""
