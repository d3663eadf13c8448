"""Plots: a scatter of features, a contact sheet of images, and the style of all."""
