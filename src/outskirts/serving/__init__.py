"""A guard behind HTTP: verdicts, a page, metrics."""
