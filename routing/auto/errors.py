"""Errors of the learned choice.

ValueError
  BadSamples   training data that cannot be read, or from which nothing can be learnt
  BadModel     a model's file that is none, or of another version
"""

from __future__ import annotations


class BadSamples(ValueError):
    """The message names the line."""


class BadModel(ValueError):
    """The message says what was expected."""
