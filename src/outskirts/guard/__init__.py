"""A classifier that knows what it does not know: a fitted detector, a threshold with its promise, in one folder."""
