"""Verdicts on more images than one machine looks at: the workers of a Ray cluster write parts of one folder."""

from .predicting import predict_with_ray

__all__ = ["predict_with_ray"]
