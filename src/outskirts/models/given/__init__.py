"""Classifiers that were trained elsewhere, each opened by one text; one file for each kind."""

from .classifier import given_backbone, given_classifier, is_rebuilt
from .spec import KINDS, OPTIONS, ModelSpec, parse_model

__all__ = ["KINDS", "OPTIONS", "ModelSpec", "given_backbone", "given_classifier", "is_rebuilt", "parse_model"]
