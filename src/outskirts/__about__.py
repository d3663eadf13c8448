"""The version, which files written by this program name."""

__version__ = "0.1.0"
