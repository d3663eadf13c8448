"""A guard in one file that other programs run: pixels in, verdicts out."""
