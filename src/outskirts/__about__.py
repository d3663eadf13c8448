"""The version, which files written by this program name."""

__version__ = "0.1.0"

#: Where defects are reported.
ISSUES = "https://github.com/outskirts/outskirts/issues"
