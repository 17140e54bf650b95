import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> None:
    """Networks this small are only slowed by more, most of all on a busy machine."""
    torch.set_num_threads(1)
