"""Batches of images: which ones, where from, and how they are changed on the way."""
