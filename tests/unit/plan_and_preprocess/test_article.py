"""The paper's protocols: their published values, and how they get into nnU-Net's plans."""

import json

import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.cli.plan_and_preprocess import read_options
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.networks.unet3d import UNet3D
from nnunetv2_crln.networks.vnet import VNet
from nnunetv2_crln.plan_and_preprocess.article import (
    CONFIGURATION,
    PROTOCOLS,
    find_protocol,
    protocol_for,
    write_article_configuration,
)
from nnunetv2_crln.preprocessed_dataset.plans import one_configuration_per_data
from nnunetv2_crln.settings import CRLNSettings


@pytest.fixture
def plans_file(tmp_path):
    """Plans of a dataset, as far as presets read them."""

    def write(spacing=(0.625, 0.625, 0.625), transpose=(0, 1, 2), **configurations):
        full = {"data_identifier": "nnUNetPlans_3d_fullres", "patch_size": [96, 128, 192], "spacing": list(spacing)}
        full |= {"batch_size": 2, "architecture": {"network_class_name": "x", "arch_kwargs": {}}}
        plans = {
            "plans_name": "nnUNetPlans",
            "dataset_name": "Dataset101_LeftAtrium",
            "transpose_forward": list(transpose),
            "configurations": {"3d_fullres": full, **configurations},
        }
        path = tmp_path / "nnUNetPlans.json"
        path.write_text(json.dumps(plans))
        return path

    return write


def raw_dataset(root, images: int, **crln):
    folder = root / "Dataset101_LeftAtrium"
    (folder / "imagesTr").mkdir(parents=True)
    for case in range(images):
        (folder / "imagesTr" / f"case{case}_0000.nii.gz").touch()
    content = {"file_ending": ".nii.gz", "channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}}
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": images, "crln": crln}))
    return folder


@pytest.mark.parametrize(
    ("dataset", "labelled", "patch", "network", "values"),
    [
        ("left_atrium", 8, (80, 112, 112), VNet, (16, 0.6, 1)),
        ("left_atrium", 16, (80, 112, 112), VNet, (16, 0.9, 1)),
        ("pancreas_ct", 6, (96, 96, 96), VNet, (4, 0.6, 2)),
        ("pancreas_ct", 12, (96, 96, 96), VNet, (16, 0.3, 1)),
        ("brats19", 25, (96, 96, 96), UNet3D, (4, 0.1, 1)),
        ("brats19", 50, (96, 96, 96), UNet3D, (4, 0.1, 1)),
    ],
)
def test_protocols_are_those_of_the_article(plans_file, dataset, labelled, patch, network, values):
    protocol = find_protocol(dataset, labelled)
    path = plans_file()
    assert write_article_configuration(path, protocol) == []
    configuration = PlansManager(str(path)).get_configuration(CONFIGURATION)
    assert tuple(configuration.patch_size) == patch and configuration.batch_size == 2
    settings = CRLNSettings.from_plans(configuration.configuration)
    assert (settings.num_prototypes, settings.prototype_weight, settings.cps_weight) == values
    assert (settings.consistency_weight, settings.relationship_map_weight) == (1, 1)
    assert (settings.rectification_start, settings.ramp_up, settings.strong_intensity) == (800, 0, "noise")
    assert settings.unsupervised_start == 0
    built = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        1,
        2,
        deep_supervision=False,
    )
    assert type(built) is network and built.encoder.output_channels == [16, 32, 64, 128, 256]
    # nnU-Net reads the strides for deep supervision, whatever the trainer.
    assert len(configuration.pool_op_kernel_sizes) == 5


def test_every_dataset_and_count_occurs_once():
    assert len({(p.dataset, p.labelled) for p in PROTOCOLS}) == len(PROTOCOLS) == 6


def test_the_patch_follows_the_plans_axes(plans_file):
    path = plans_file(transpose=(2, 0, 1))
    write_article_configuration(path, find_protocol("left_atrium", 8))
    assert PlansManager(str(path)).get_configuration(CONFIGURATION).patch_size == [112, 80, 112]


def test_data_of_the_articles_spacing_are_shared_and_others_are_not(plans_file):
    same = plans_file()
    write_article_configuration(same, find_protocol("left_atrium", 8))
    plans = PlansManager(str(same))
    assert one_configuration_per_data(plans, ["3d_fullres", CONFIGURATION]) == {"3d_fullres": [CONFIGURATION]}
    other = plans_file(spacing=(1.0, 0.8, 0.8))
    write_article_configuration(other, find_protocol("pancreas_ct", 6))
    plans = PlansManager(str(other))
    assert plans.get_configuration(CONFIGURATION).spacing == [1.0, 1.0, 1.0]
    assert one_configuration_per_data(plans, ["3d_fullres", CONFIGURATION]) == {"3d_fullres": [], CONFIGURATION: []}


def test_a_changed_configuration_is_kept_and_its_changes_are_named(plans_file):
    path = plans_file()
    protocol = find_protocol("left_atrium", 8)
    write_article_configuration(path, protocol)
    plans = json.loads(path.read_text())
    plans["configurations"][CONFIGURATION]["crln"]["cps_weight"] = 0.5
    plans["configurations"][CONFIGURATION]["batch_size"] = 4
    path.write_text(json.dumps(plans))
    assert write_article_configuration(path, protocol) == ["crln.cps_weight", "batch_size"]
    assert json.loads(path.read_text()) == plans


def test_plans_without_3d_fullres_are_refused(plans_file):
    path = plans_file()
    plans = json.loads(path.read_text())
    plans["configurations"] = {"2d": plans["configurations"]["3d_fullres"]}
    path.write_text(json.dumps(plans))
    with pytest.raises(UserError, match="have no 3d_fullres"):
        write_article_configuration(path, find_protocol("left_atrium", 8))


def test_unknown_protocols_are_refused_with_those_there_are():
    with pytest.raises(UserError, match="It has: left_atrium, pancreas_ct, brats19"):
        find_protocol("heart", 8)
    with pytest.raises(UserError, match="the paper has 8 and 16"):
        find_protocol("left_atrium", 4)


def test_the_datasets_own_number_of_labelled_cases_decides(tmp_path):
    assert protocol_for(raw_dataset(tmp_path / "a", 8), "left_atrium", None).labelled == 8
    # 25 validation cases lie in imagesTr, too.
    assert protocol_for(raw_dataset(tmp_path / "b", 50, num_labelled=25), "brats19", None).labelled == 25
    with pytest.raises(UserError, match=r"has 8 labelled cases\. Convert it with --num_labelled 16"):
        protocol_for(raw_dataset(tmp_path / "c", 8), "left_atrium", 16)
    with pytest.raises(UserError, match="with 3 labelled cases: the paper has 8 and 16"):
        protocol_for(raw_dataset(tmp_path / "d", 3), "left_atrium", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num_labelled", "8"], "give --article DATASET too"),
        (["--article", "pancreas_ct", "--num_labelled", "8"], "the paper has 6 and 12"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_done(arguments, message):
    with pytest.raises(UserError, match=message):
        read_options(["-d", "1", *arguments])


def test_an_unknown_dataset_is_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit):
        read_options(["-d", "1", "--article", "heart"])
    assert "invalid choice: 'heart'" in capsys.readouterr().err
