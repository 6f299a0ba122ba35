from types import SimpleNamespace

import pytest

from nnunetv2_crln.training.dataloading.streams import Streams


@pytest.mark.parametrize(("size", "cutmix", "said"), [(1, True, True), (2, True, False), (1, False, False)])
def test_the_log_says_so_if_single_patches_leave_nothing_to_mix(size, cutmix, said):
    streams = Streams.__new__(Streams)
    streams.cases, streams.partly, streams.cutmix = None, None, cutmix
    streams.labelled = SimpleNamespace(indices=["a", "b"], batch_size=2)
    streams.unlabelled = SimpleNamespace(loader=SimpleNamespace(batch_size=size))
    streams.num_cases = {"labelled": 2, "unlabelled": 5}
    expected = f"2 labelled and 5 unlabelled cases, 2 + {size} patches in a batch"
    assert streams.describe() == expected + said * " (no CutMix: it needs two unlabelled patches)"
