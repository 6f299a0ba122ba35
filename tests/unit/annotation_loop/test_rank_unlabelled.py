"""The table of a ranking."""

import csv
import io
import math

import numpy as np
import pytest

from nnunetv2_crln.annotation_loop.order_scans import Ranked, Structure
from nnunetv2_crln.annotation_loop.predicted_cases import PredictedCase
from nnunetv2_crln.annotation_loop.rank_unlabelled import RankingFiles, _refuse_files_of_others, ranking_table
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import RANKING_LOCK
from nnunetv2_crln.reporting.ranking_page import build_ranking_page


def test_a_ranking_holds_the_numbers_of_its_scans():
    predicted = {
        "a": PredictedCase({"liver": Structure(0.9, 1400.0), "tumour": Structure(math.nan, 0.0)}, np.zeros(0), {}),
        "b": PredictedCase({"liver": Structure(0.5, 1200.5), "tumour": Structure(0.25, 3.125)}, np.zeros(0), {}),
    }
    text = ranking_table([Ranked("b", 1.0, 1.0, ""), Ranked("a", 0.125, 0.5, "b")], predicted)
    first, second = csv.DictReader(io.StringIO(text))
    assert first == {
        "rank": "1",
        "case": "b",
        "uncertainty": "1.0000",
        "novelty": "1.0000",
        "most_like": "",
        "expected Dice liver": "0.5000",
        "ml liver": "1200.5000",
        "expected Dice tumour": "0.2500",
        "ml tumour": "3.1250",
    }
    assert second["case"] == "a" and second["most_like"] == "b" and second["expected Dice tumour"] == ""


def test_only_its_own_files_are_overwritten(tmp_path):
    files = RankingFiles(tmp_path / "ranking.csv")
    _refuse_files_of_others(files)
    files.table.write_text(ranking_table([], {}))
    files.page.write_text(build_ranking_page("title", "model", []))
    files.cases.mkdir()
    _refuse_files_of_others(files)
    (files.cases / "case.png").touch()
    with pytest.raises(UserError, match="ranking_cases exists and was not made by nnUNetv2_crln_rank"):
        _refuse_files_of_others(files)
    (files.cases / RANKING_LOCK).touch()
    _refuse_files_of_others(files)
    for path in (files.page, files.table):
        path.write_text("case,age")
        with pytest.raises(UserError, match=f"{path.name} exists and was not written by nnUNetv2_crln_rank"):
            _refuse_files_of_others(files)
