"""Nothing of ours executes what it loads, and what is exported holds no code."""

import ast
import json
import pickletools
import zipfile
from pathlib import Path

import pytest
import torch

import nnunetv2_crln
from nnunetv2_crln.dataset_conversion.common.case_names import check_case_name, read_case_list
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.export import export_model
from nnunetv2_crln.layout import CHECKPOINT_STATE
from nnunetv2_crln.raw_dataset.check_names import check_dataset
from nnunetv2_crln.training.checkpoint import save

PACKAGE = Path(nnunetv2_crln.__file__).parent
# nnU-Net stores the properties of preprocessed cases as pickles; see docs/reliability.md for whom one has to trust.
UNPICKLING_ALLOWED = {("preprocessed_dataset/case_files.py", "load_pickle")}
EXECUTING = {"pickle.load", "pickle.loads", "eval", "exec"}
HARMLESS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch FloatStorage",
    "torch LongStorage",
}


def calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_checkpoints_are_loaded_with_weights_only_and_nothing_else_is_unpickled():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for function, node in calls(ast.parse(path.read_text(encoding="utf-8"))):
            if function == "torch.load":
                safe = [k.value for k in node.keywords if k.arg == "weights_only"]
                assert len(safe) == 1 and ast.unparse(safe[0]) == "True", name
                found.add(name)
            if function.split(".")[-1] in {"load_pickle", "Unpickler"} or function in EXECUTING:
                assert (name, function) in UNPICKLING_ALLOWED, f"{name}: {function}"
            if function.endswith("np.load"):
                assert not any(k.arg == "allow_pickle" for k in node.keywords), name
    assert found == {"utilities/checkpoint_files.py"}


def pickled_names(checkpoint: Path) -> set[str]:
    """Everything that unpickling a checkpoint would look up and call."""
    with zipfile.ZipFile(checkpoint) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        operations = list(pickletools.genops(archive.read(pickled)))
    assert not any(operation.name == "STACK_GLOBAL" for operation, _, _ in operations)
    return {argument for operation, argument, _ in operations if operation.name == "GLOBAL"}


@pytest.mark.parametrize(("network", "value"), [("deployed", 1.0), ("teacher", 2.0), ("student", 3.0)])
def test_an_exported_model_holds_tensors_and_plain_types_alone(tmp_path, network, value):
    weights, teacher, student = ({"a.weight": torch.full((2,), v), "a.steps": torch.tensor(3)} for v in (1.0, 2.0, 3.0))
    fold = tmp_path / "nnUNetTrainer_CRLN__nnUNetPlans__3d_fullres" / "fold_all"
    fold.mkdir(parents=True)
    configurations = {"3d_fullres": {"architecture": {"network_class_name": "x"}, "crln": {"seed": 1}}}
    (fold.parent / "plans.json").write_text(json.dumps({"configurations": configurations}))
    (fold.parent / "dataset.json").write_text("{}")
    save(
        {
            "network_weights": weights,
            "trainer_name": "nnUNetTrainer_CRLN",
            "init_args": {"configuration": "3d_fullres", "fold": "all", "plans": {"secret": "/path"}},
            "inference_allowed_mirroring_axes": (0, 1),
            CHECKPOINT_STATE: {"student": student, "teacher": teacher},
        },
        fold / "checkpoint_final.pth",
        keep_previous=False,
    )
    exported = (
        export_model(fold.parent, tmp_path / "exported", ["all"], network=network) / "fold_all" / "checkpoint_final.pth"
    )
    assert pickled_names(exported) <= HARMLESS
    content = torch.load(exported, weights_only=True)
    assert set(content) == {"network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes"}
    assert "plans" not in content["init_args"]
    assert content["network_weights"]["a.weight"].tolist() == [value, value]


def test_the_look_into_pickles_sees_code(tmp_path):
    torch.save({"path": Path("x")}, tmp_path / "code.pth")
    assert not pickled_names(tmp_path / "code.pth") <= HARMLESS


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "C:x", "a..b", "", "x\n"])
def test_case_names_cannot_leave_their_folder(tmp_path, name):
    with pytest.raises(UserError, match="not a valid case name"):
        check_case_name(name, "list")
    if name.strip():
        listed = tmp_path / "cases.json"
        listed.write_text(json.dumps([name]))
        with pytest.raises(UserError, match="not a valid case name"):
            read_case_list(listed)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b", "..", "C:x"])
def test_cases_that_dataset_json_lists_cannot_leave_their_folder(make_dataset, name):
    raw = make_dataset(labelled=1, shape=(8, 8, 8))
    content = json.loads((raw / "dataset.json").read_text())
    content["dataset"] = {name: {"images": ["imagesTr/lab_000_0000.nii.gz"], "label": "labelsTr/lab_000.nii.gz"}}
    (raw / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"dataset\.json: 'dataset' names .* rename these"):
        check_dataset(raw)
