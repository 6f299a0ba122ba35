"""The teacher as a function of whole volumes."""

import numpy as np
import pytest
import torch

from nnunetv2_crln.training.whole_volume_refresh.volume_teacher import _most_probable


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_most_probable_class_is_found_class_by_class(dtype):
    logits = torch.randn(7, 4, 5, 6, dtype=torch.float32).to(dtype)
    np.testing.assert_array_equal(_most_probable(logits), logits.float().argmax(0).numpy())
