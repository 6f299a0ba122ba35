"""Export a trained model as a folder with which stock nnU-Net predicts."""

from pathlib import Path

from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, did_you_mean
from nnunetv2_crln.layout import CHECKPOINT_FINAL, CHECKPOINT_STATE, PLANS_BLOCK
from nnunetv2_crln.training import checkpoint as checkpoints
from nnunetv2_crln.training import variants
from nnunetv2_crln.utilities.checkpoint_files import read_model
from nnunetv2_crln.utilities.growing_folder import growing_folder
from nnunetv2_crln.utilities.json_files import read_users_json, write_json

PACKAGE = "nnunetv2_crln"


def export_model(
    model_folder: str | Path,
    output_folder: str | Path,
    folds: list[str],
    checkpoint_name: str = CHECKPOINT_FINAL,
    network: str = "deployed",
) -> Path:
    """Write plans, dataset.json and one checkpoint per fold that can be used without this package.

    The checkpoints contain only tensors and plain types: no training state, no data paths, no pickled code.

    Args:
        model_folder: ``nnUNet_results/DatasetXXX_Name/TRAINER__PLANS__CONFIGURATION``.
        output_folder: Model folder to write; it must not exist.
        folds: Folds to export, ``"0"`` ... or ``"all"``.
        checkpoint_name: File name of the checkpoint in each fold.
        network: ``"deployed"`` (the network that nnUNetv2_predict uses here), ``"teacher"`` or ``"student"``.

    Returns:
        ``output_folder``.

    Raises:
        UserError: A file is missing, the output exists, or stock nnU-Net cannot build the network.
    """
    model_folder, output_folder = Path(model_folder), Path(output_folder)
    if output_folder.exists():
        raise UserError(f"{output_folder} exists already. Remove it or choose another output with -o.")
    plans = _read_json(model_folder / "plans.json")
    dataset_json = _read_json(model_folder / "dataset.json")
    exported = {fold: _stock_checkpoint(model_folder, fold, checkpoint_name, network) for fold in folds}
    for configuration in {checkpoint["init_args"]["configuration"] for checkpoint in exported.values()}:
        _refuse_own_network(plans, configuration)
    for configuration in plans["configurations"].values():
        configuration.pop(PLANS_BLOCK, None)
    with growing_folder(output_folder) as temporary:
        write_json(plans, temporary / "plans.json")
        write_json(dataset_json, temporary / "dataset.json")
        for fold, checkpoint in exported.items():
            (temporary / f"fold_{fold}").mkdir()
            checkpoints.save(checkpoint, temporary / f"fold_{fold}" / checkpoint_name, keep_previous=False)
    return output_folder


def _refuse_own_network(plans: dict, configuration: str) -> None:
    name = PlansManager(plans).get_configuration(configuration).network_arch_class_name
    if name.startswith(PACKAGE):
        raise UserError(
            f"The plans name the network {name}, which is part of this package: stock nnU-Net cannot build it. Predict "
            "with nnunetv2_crln installed (nnUNetv2_predict works as always), or train a configuration with one of "
            "nnU-Net's networks."
        )


def _stock_checkpoint(model_folder: Path, fold: str, checkpoint_name: str, network: str) -> dict:
    path = model_folder / f"fold_{fold}" / checkpoint_name
    if not path.is_file():
        present = sorted(p.parent.name for p in model_folder.glob(f"fold_*/{checkpoint_name}"))
        checkpoints_of_fold = [p.name for p in path.parent.glob("checkpoint_*.pth")]
        meant = did_you_mean(f"fold_{fold}", present) or did_you_mean(checkpoint_name, checkpoints_of_fold)
        raise UserError(
            f"No {checkpoint_name} in {path.parent}. Finished folds in {model_folder}: {', '.join(present) or 'none'}. "
            f"Train the fold to its end or name another with -f (or another checkpoint with -chk).{meant}"
        )
    checkpoint = read_model(path)
    if CHECKPOINT_STATE not in checkpoint:
        raise UserError(
            f"{path} was written by {checkpoint['trainer_name']}, which is not a trainer of {PACKAGE}. A model of "
            "stock nnU-Net needs no export: nnUNetv2_predict uses it as it is."
        )
    weights = checkpoint["network_weights"] if network == "deployed" else checkpoint[CHECKPOINT_STATE][network]
    return {
        "network_weights": weights,
        "trainer_name": _stock_trainer(checkpoint["trainer_name"]),
        "init_args": {key: checkpoint["init_args"][key] for key in ("configuration", "fold")},
        "inference_allowed_mirroring_axes": checkpoint["inference_allowed_mirroring_axes"],
    }


def _stock_trainer(name: str) -> str:
    """Return the trainer of nnU-Net that builds the same network as one of this package or derived from it."""
    try:
        trainer = getattr(variants, name, None) or recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise UserError(f"The trainer of the model is not installed, and it builds the network. {error}") from error
    builder = next(cls for cls in trainer.__mro__ if "build_network_architecture" in vars(cls))
    if not builder.__module__.startswith("nnunetv2."):
        raise UserError(
            f"{name} builds its network by build_network_architecture of {builder.__name__}, which stock nnU-Net does "
            "not have. Predict with nnunetv2_crln and this trainer installed (nnUNetv2_predict works as always), or "
            "train with one of nnU-Net's networks."
        )
    return builder.__name__


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f"{path} is missing. Expected a model folder TRAINER__PLANS__CONFIGURATION of nnUNet_results.")
    return read_users_json(path, "Copy it from the preprocessed dataset.")
