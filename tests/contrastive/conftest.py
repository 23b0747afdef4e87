"""In this room no array has free axes: implicit broadcasting between ranks raises."""

import pytest


@pytest.fixture(autouse=True)
def _exact_ranks(exact_ranks: None) -> None:
    """Switch the check on for every test of the folder."""
