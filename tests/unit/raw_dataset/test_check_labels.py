"""Labels of another form than one class number per voxel."""

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.check_labels import verify_labels


@pytest.mark.parametrize("vector", [True, False])
def test_a_one_hot_label_is_named(make_dataset, vector):
    folder = make_dataset(shape=(6, 6, 6))
    path = folder / "labelsTr" / "lab_001.nii.gz"
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    one_hot = np.stack([label == value for value in range(3)], axis=-1 if vector else 0).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(one_hot, isVector=vector), str(path))
    with pytest.raises(UserError, match=r"lab_001\.nii\.gz has 3 values per voxel; expected one class number: save it"):
        verify_labels(folder, show_progress=False)


@pytest.mark.parametrize(
    ("factor", "text"),
    [(0.99999994, r"value\(s\) 0\.99999994, .*rounding errors.*whole numbers"), (0.7, r"0\.7, .*interpolation")],
)
def test_a_value_beside_a_class_is_shown_as_it_is(make_dataset, factor, text):
    folder = make_dataset(shape=(6, 6, 6))
    path = folder / "labelsTr" / "lab_001.nii.gz"
    label = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.Cast(label, sitk.sitkFloat32) * factor, str(path))
    with pytest.raises(UserError, match=text):
        verify_labels(folder, show_progress=False)
