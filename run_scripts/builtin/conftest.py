"""Fixtures that the recipe's tests share with all others."""

from helpers.fixtures import rng, shared_folder  # noqa: F401
