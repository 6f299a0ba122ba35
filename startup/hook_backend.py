"""Build backend: setuptools, plus the two start-up files at the top level of the wheel.

setuptools has no public way to put a ``.pth`` file beside a package, and none at all for editable installs. Both kinds
of wheel are ordinary archives, so the files are added after setuptools has finished.
"""

import base64
import hashlib
import os
import shutil
import warnings
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the other hooks, unchanged)

HOOK_FILES = [Path(__file__).with_name(name) for name in ("nnunetv2_crln.pth", "nnunetv2_crln.start")]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build the wheel of a normal install (PEP 517)."""
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    add_to_wheel(Path(wheel_directory, name), HOOK_FILES)
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build the wheel of an editable install (PEP 660)."""
    with warnings.catch_warnings():
        # setuptools warns at every editable install of every package; here it would look like a failure.
        warnings.filterwarnings("ignore", message="Editable installation")
        name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_to_wheel(Path(wheel_directory, name), HOOK_FILES)
    return name


def add_to_wheel(wheel: Path, files: list[Path]) -> None:
    """Put files at the top level of a wheel and list them in its RECORD, so that uninstalling removes them."""
    rewritten = wheel.with_suffix(".tmp")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(rewritten, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                content += "".join(record_line(file) for file in files).encode()
                for file in files:
                    added = zipfile.ZipInfo(file.name, entry.date_time)
                    added.external_attr = entry.external_attr
                    new.writestr(added, file.read_bytes())
            new.writestr(entry, content)
    shutil.copymode(wheel, rewritten)
    os.replace(rewritten, wheel)


def record_line(file: Path) -> str:
    """One line of a wheel's RECORD: path, digest, size."""
    content = file.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{file.name},sha256={digest},{len(content)}\n"
