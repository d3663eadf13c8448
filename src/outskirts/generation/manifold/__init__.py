"""Coordinates of embeddings in which each class is near zero in some, and outliers from there."""
