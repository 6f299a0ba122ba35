"""The table of a ranking."""

import csv
import io
import math

import numpy as np

from nnunetv2_crln.annotation_loop.order_scans import Ranked, Structure
from nnunetv2_crln.annotation_loop.predicted_cases import PredictedCase
from nnunetv2_crln.annotation_loop.rank_unlabelled import ranking_table


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
