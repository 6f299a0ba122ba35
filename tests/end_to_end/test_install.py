"""The wheel, installed as a user would: nnU-Net finds our trainers with nothing exported, and nothing else changes.

Each virtual environment here sees the heavy packages (torch, nnU-Net, …) of the environment that runs the tests
through links, so that only our own wheel is really installed.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from statistics import median

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ["pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CHANGELOG.md", "CITATION.cff"]
SOURCES += ["startup", "nnunetv2_crln", "nnunetv2_crln_startup.py"]

FIND = """
import sys
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
for name in sys.argv[1:]:
    try:
        found = recursive_find_trainer_class_by_name(name)
        print("FOUND", name, "IN", found.__module__)
    except Exception as error:
        print("MISSING", name, "BECAUSE", error)
"""
OURS = "FOUND nnUNetTrainer_CRLN IN nnunetv2_crln.training."


class Environment:
    """Virtual environment that borrows every installed package except this one."""

    def __init__(self, folder: Path, pip: bool = False, leave_out: tuple[str, ...] = ()):
        subprocess.run([sys.executable, "-m", "venv", *([] if pip else ["--without-pip"]), str(folder)], check=True)
        self.folder = folder
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        borrowed = folder / "borrowed"
        borrowed.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            ours = entry.name.startswith("nnunetv2_crln") or entry.suffix in (".pth", ".start")
            if not ours and entry.name not in leave_out and not entry.name.startswith(("__editable__", "pip")):
                (borrowed / entry.name).symlink_to(entry)
        (self.site / "borrowed.pth").write_text(f"{borrowed}\n")

    def run(self, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
        """Run this environment's python with a clean set of variables, outside the repository."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("nnUNet", "PYTHON", "COV"))}
        kept["PYTHONWARNINGS"] = "ignore"  # torch warns about itself at import
        result = subprocess.run(
            [str(self.python), *arguments], capture_output=True, text=True, cwd=self.folder, env=kept | variables
        )
        if check and result.returncode:
            raise AssertionError(f"{arguments[:3]} failed:\n{result.stdout}\n{result.stderr}")
        return result

    def find(self, *trainers: str, **variables: str) -> subprocess.CompletedProcess:
        """Look trainers up the way nnUNetv2_train and nnUNetv2_predict do."""
        return self.run("-c", FIND, *trainers, **variables)

    def install(self, wheel: Path) -> None:
        self.run("-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel))

    def unpack(self, wheel: Path) -> None:
        """Do what installing amounts to, without the seconds that pip costs."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)

    def uninstall(self) -> None:
        self.run("-m", "pip", "uninstall", "--yes", "--disable-pip-version-check", "nnunetv2_crln")

    def files(self) -> set[str]:
        return {str(path.relative_to(self.site)) for path in self.site.rglob("*") if "pip" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Our wheel, built by way of the sdist from a copy of the sources, so that nothing stale in build/ gets in."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory, wheel) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("environment") / "venv", pip=True)
    environment.install(wheel)
    return environment


def test_the_wheel_holds_our_package_and_the_hook_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = archive.read(next(name for name in names if name.endswith("RECORD"))).decode()
    top_level = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top_level == {"nnunetv2_crln", "nnunetv2_crln_startup.py", "nnunetv2_crln.pth", "nnunetv2_crln.start"}
    assert {line.split(",")[0] for line in record.splitlines()} == set(names)
    assert len(names) == len(set(names))


def test_our_and_stock_trainers_are_found_with_nothing_exported(environment):
    """In a script, because a class sent to a spawned process shows that the class can be imported there too."""
    script = environment.folder / "find.py"
    script.write_text(
        "import multiprocessing\n"
        "def name_of(trainer):\n"
        "    return trainer.__name__\n"
        "if __name__ == '__main__':\n"
        f"    exec({FIND!r})\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print('SPAWNED', pool.apply(name_of, (found,)))\n"
    )
    found = environment.run(str(script), "nnUNetTrainer", "nnUNetTrainer_CRLN").stdout
    assert "FOUND nnUNetTrainer IN nnunetv2.training.nnUNetTrainer.nnUNetTrainer" in found
    assert OURS in found
    assert "SPAWNED nnUNetTrainer_CRLN" in found


def test_a_users_own_folder_is_kept_and_comes_first(environment, tmp_path):
    (tmp_path / "my_trainers.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainer_mine(nnUNetTrainer): pass\n"
        "class nnUNetTrainer_CRLN(nnUNetTrainer): pass\n"
    )
    found = environment.find(
        "nnUNetTrainer_mine", "nnUNetTrainer_CRLN", "nnUNetTrainer_MeanTeacher", nnUNet_extTrainer=str(tmp_path)
    ).stdout
    assert "FOUND nnUNetTrainer_mine IN my_trainers" in found
    assert "FOUND nnUNetTrainer_CRLN IN my_trainers" in found
    assert "FOUND nnUNetTrainer_MeanTeacher IN nnunetv2_crln.training." in found


def test_child_processes_do_not_double_the_folder(environment):
    script = (
        "import os, subprocess, sys; show = 'import os; print(os.environ[\"nnUNet_extTrainer\"])';"
        "print(subprocess.run([sys.executable, '-c', show], capture_output=True, text=True).stdout)"
    )
    assert environment.run("-c", script).stdout.strip() == str(environment.site / "nnunetv2_crln" / "nnunet_trainers")


def test_every_console_script_has_its_module(environment):
    names = [path.name for path in environment.python.parent.glob("nnUNetv2_crln_*")]
    assert names
    check = (
        "from importlib.metadata import distribution\n"
        "for entry in distribution('nnunetv2_crln').entry_points:\n"
        "    assert callable(entry.load()), entry\n"
    )
    environment.run("-c", check)


@pytest.mark.skipif(os.name != "posix", reason="processor time of child processes")
def test_starting_python_takes_no_measurable_time_longer(environment):
    import resource

    pth = environment.site / "nnunetv2_crln.pth"

    def seconds() -> float:
        """Processor time, which other programs on the machine change less than the time on the clock."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment.run("-c", "pass")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with_hook, without_hook = [], []
    content = pth.read_text()
    try:
        for _ in range(20):
            pth.write_text(content)
            with_hook.append(seconds())
            pth.write_text("")
            without_hook.append(seconds())
    finally:
        pth.write_text(content)
    # Of pairs in turn, because a core that is shared with another program counts more time.
    assert median(a - b for a, b in zip(with_hook, without_hook, strict=True)) < 0.005


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("syntax errors", "Could not find requested nnunet trainer"),
        ("missing dependency", "a_package_nobody_has"),
        ("package removed", "Could not find requested nnunet trainer"),
    ],
)
def test_stock_trainers_are_found_when_our_package_is_broken(tmp_path, wheel, damage, reason):
    environment = Environment(tmp_path / "venv")
    environment.unpack(wheel)
    package, startup = environment.site / "nnunetv2_crln", environment.site / "nnunetv2_crln_startup.py"
    if damage == "syntax errors":
        for file in (*package.rglob("*.py"), startup):
            file.write_text("def broken(:\n")
    elif damage == "missing dependency":
        (package / "training" / "variants.py").write_text("import a_package_nobody_has\n")
    else:
        shutil.rmtree(package)
        startup.unlink()
    found = environment.find("nnUNetTrainerNoDeepSupervision", "nnUNetTrainer_CRLN")
    assert "FOUND nnUNetTrainerNoDeepSupervision IN nnunetv2.training.nnUNetTrainer." in found.stdout
    assert found.stderr == ""
    assert "MISSING nnUNetTrainer_CRLN BECAUSE" in found.stdout
    assert reason in found.stdout


def test_uninstalling_leaves_nothing(tmp_path, wheel):
    environment = Environment(tmp_path / "venv", pip=True)
    before = environment.files()
    environment.install(wheel)
    environment.run("-c", "import nnunetv2_crln.utilities.run_command, nnunetv2_crln.layout")  # writes __pycache__
    assert environment.files() > before
    environment.uninstall()
    assert environment.files() == before
    assert environment.run("-c", "import os; print('nnUNet_extTrainer' in os.environ)").stdout == "False\n"


def test_an_editable_nnunet_keeps_working_beside_our_wheel(tmp_path, wheel):
    import nnunetv2

    checkout = tmp_path / "nnUNet"
    shutil.copytree(nnunetv2.__path__[0], checkout / "nnunetv2", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "nnunetv2" / "training" / "nnUNetTrainer" / "my_variant.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainer_myVariant(nnUNetTrainer): pass\n"
    )
    environment = Environment(tmp_path / "venv", leave_out=("nnunetv2",))
    (environment.site / "__editable__.nnunetv2.pth").write_text(f"{checkout}\n")
    environment.unpack(wheel)
    where = environment.run("-c", "import nnunetv2; print(nnunetv2.__path__[0])").stdout.strip()
    assert where == str(checkout / "nnunetv2")
    found = environment.find("nnUNetTrainer_myVariant", "nnUNetTrainer_CRLN").stdout
    assert "FOUND nnUNetTrainer_myVariant IN nnunetv2.training.nnUNetTrainer.my_variant" in found
    assert OURS in found


def test_an_editable_install_of_ours_needs_no_export_either(tmp_path, wheel):
    """Built as pip does for ``pip install -e``; the hook is in that wheel too."""
    sources = wheel.parents[1]
    script = "import sys; sys.path.insert(0, 'startup'); import hook_backend; hook_backend.build_editable(sys.argv[1])"
    built = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=sources, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    environment = Environment(tmp_path / "venv")
    environment.unpack(next(tmp_path.glob("*.whl")))
    assert OURS in environment.find("nnUNetTrainer_CRLN").stdout
    where = environment.run("-c", "import nnunetv2_crln; print(nnunetv2_crln.__file__)").stdout
    assert where.startswith(str(sources))
