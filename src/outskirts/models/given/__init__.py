"""Classifiers that were trained elsewhere, each opened by one text; one file for each kind."""

from .classifier import given_backbone, given_classifier, is_rebuilt
from .rebuilding import FILES, rebuilt_network
from .spec import KINDS, NAMED, OPTIONS, ModelSpec, parse_model

__all__ = [
    "FILES",
    "KINDS",
    "NAMED",
    "OPTIONS",
    "ModelSpec",
    "given_backbone",
    "given_classifier",
    "is_rebuilt",
    "parse_model",
    "rebuilt_network",
]
