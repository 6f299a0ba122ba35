"""A device that is not there is named before any work."""

import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.devices import available_device


def test_a_missing_device_is_named(monkeypatch):
    for module in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(module, "is_available", lambda: False)
    assert available_device("cpu") == torch.device("cpu")
    for name in ("cuda", "mps"):
        with pytest.raises(UserError, match=f"-device {name}: no .* is available. Use -device cpu"):
            available_device(name)
        monkeypatch.setattr(torch.cuda if name == "cuda" else torch.backends.mps, "is_available", lambda: True)
        assert available_device(name).type == name
