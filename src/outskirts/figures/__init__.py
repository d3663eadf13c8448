"""Plots: drawings of scores and of a training on axes, a scatter of features, a contact sheet, and the style of all."""
