"""Pictures of pseudo labels: slices, colours, panels."""

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nnunetv2_crln.reporting.overlay import (
    PseudoLabelPicture,
    change_colours,
    choose_slices,
    class_colours,
    draw_overlay,
    slice_axis,
)
from nnunetv2_crln.reporting.style import BLUE, CLASS_COLOURS, PURPLE, VERMILLION


def make_picture(shape=(8, 10, 12), classes=3, truth=True, with_map=True) -> PseudoLabelPicture:
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, dtype=int)
    labels[tuple(slice(2, size - 2) for size in shape)] = 1
    return PseudoLabelPicture(
        image=rng.normal(size=shape),
        raw=np.zeros(shape, dtype=int),
        rectified=labels,
        confidence=rng.uniform(1 / classes, 1, shape),
        relationship_map=rng.normal(size=(classes, *shape)) if with_map else None,
        truth=labels if truth else None,
        spacing=(1.0,) * len(shape),
        class_names=("background", *(f"class {i}" for i in range(1, classes))),
        title="case_1, epoch 7",
    )


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_slices_go_through_the_foreground():
    labels = np.zeros((20, 4, 4), dtype=int)
    labels[6:15, 1:3, 1:3] = 1
    labels[9] = 2
    assert choose_slices(labels, 0) == [8, 9, 12]


def test_slices_without_foreground_or_in_2d():
    assert choose_slices(np.zeros((6, 3, 3), dtype=int), 0) == [3]
    assert choose_slices(np.zeros((6, 3), dtype=int), None) == [None]


def test_slices_are_cut_across_the_thickest_axis():
    assert slice_axis(3, (1.0, 1.0, 1.0)) == 0
    assert slice_axis(3, (0.7, 0.7, 5.0)) == 2
    assert slice_axis(2, (1.0, 1.0)) is None


def test_change_has_a_colour_for_added_removed_and_exchanged_foreground():
    colours = change_colours(np.array([0, 1, 1, 1, 0]), np.array([1, 0, 2, 1, 0]))
    assert [tuple(c) for c in colours[:3, :3]] == [to_rgb(BLUE), to_rgb(VERMILLION), to_rgb(PURPLE)]
    assert colours[3:, 3].tolist() == [0, 0]


def test_classes_beyond_the_palette_start_over_and_unknown_voxels_stay_clear():
    many = len(CLASS_COLOURS) + 1
    colours = class_colours(np.array([0, -1, 1, many]))
    assert colours[:2, 3].tolist() == [0, 0]
    assert (colours[2] == colours[3]).all()


@pytest.mark.parametrize("shape", [(8, 10, 12), (10, 12), (1, 6, 6)])
@pytest.mark.parametrize("classes", [2, 9])
def test_panels(shape, classes):
    expected = ["image", "raw", "rectified", "change"]
    figure = draw_overlay(make_picture(shape, classes))
    assert titles(figure)[:4] == expected
    assert titles(figure)[-1] == "hidden label"
    assert 1 <= sum(title.startswith("M ") for title in titles(figure)) <= 4


def test_the_whole_slice_comes_first_with_a_frame_around_the_patch(tmp_path):
    picture = make_picture()
    slices = choose_slices(picture.rectified, 0)
    around = dataclasses.replace(
        picture, around={index: np.zeros((20, 30)) for index in slices}, frame=((3, 13), (5, 17))
    )
    figure = draw_overlay(around)
    assert titles(figure)[:2] == ["whole slice", "image"]
    (frame,) = figure.axes[0].patches
    assert (*frame.get_xy(), frame.get_width(), frame.get_height()) == (4.5, 2.5, 12, 10)
    same = dataclasses.replace(around, around={index: np.zeros((10, 12)) for index in slices}, frame=((0, 10), (0, 12)))
    assert titles(draw_overlay(same))[0] == "image"  # a patch as large as the scan needs no surroundings


def test_without_hidden_label_and_without_dim():
    found = titles(draw_overlay(make_picture(truth=False, with_map=False)))
    assert "hidden label" not in found and not any(title.startswith("M ") for title in found)


def test_a_constant_image_and_a_long_name_can_be_drawn(tmp_path):
    picture = make_picture(classes=2)
    constant = dataclasses.replace(picture, image=np.zeros_like(picture.image), class_names=("background", "x" * 60))
    draw_overlay(constant).savefig(tmp_path / "overlay.png")
    assert (tmp_path / "overlay.png").stat().st_size > 1000
