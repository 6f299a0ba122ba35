"""Unit tests draw the same numbers every time, and no hypothesis example has a deadline on a busy machine."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("unit", deadline=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True)
def one_thread_and_one_seed():
    """Tiny tensors gain nothing from threads; a failure can be repeated."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
