"""Fixtures of all tests, those beside the recipe included."""

import os
import pathlib

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20181011)


@pytest.fixture(scope="session")
def shared_folder():
    """Large real data outside the repository: `BERT_TF_SHARED` names it."""
    folder = os.environ.get("BERT_TF_SHARED")
    if not folder:
        pytest.skip("BERT_TF_SHARED is not set: no large real data to compare")
    return pathlib.Path(folder)
