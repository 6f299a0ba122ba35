"""Numbers of processes: nnU-Net's, bounded by the cores unless the user gives a number."""

import os

import pytest

from nnunetv2_crln.cli.plan_and_preprocess import read_options
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess.options import Options

ALL = "-c 2d 3d_fullres 3d_lowres other"


@pytest.fixture(params=[2, 6, 64])
def cores(request, monkeypatch):
    """Number of cores that this process may use."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)), raising=False)
    return request.param


def options(flags: str = ""):
    return read_options(f"-d 999 {flags}".split())


def test_no_more_processes_than_cores_by_default(cores):
    expected = {"2d": 8, "3d_fullres": 4, "3d_lowres": 8, "other": 4}
    assert options(ALL).processes_by_configuration() == {name: min(number, cores) for name, number in expected.items()}
    assert options().fingerprint_processes == min(8, cores)


def test_a_given_number_is_obeyed(cores):
    given = options(f"{ALL} -np 16 -npfp 32")
    assert set(given.processes_by_configuration().values()) == {16} and given.fingerprint_processes == 32


@pytest.mark.parametrize(
    "numbers", [{"processes": (2, 0)}, {"fingerprint_processes": 0}, {"fingerprint_processes": -1}]
)
def test_no_process_is_refused_in_python_too(numbers):
    with pytest.raises(UserError, match="numbers above 0"):
        Options((999,), ("2d", "3d_fullres"), **numbers)
