"""One pass over images, and what it leaves for detectors."""
