"""``python -m outskirts``."""

from .cli import main

main()
