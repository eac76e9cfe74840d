"""Fixtures of the tests of training."""

import logging

import pytest


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    return caplog


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """The checkpoint of a run of 12 steps that nothing interrupts."""
    from helpers.small_training import train

    return train(tmp_path_factory.mktemp("uninterrupted"), 12)
