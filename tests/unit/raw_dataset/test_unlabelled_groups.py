"""Groups of unlabelled cases by patterns of their names."""

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.unlabelled_groups import OTHERS, unlabelled_groups

CASES = ["b_2", "a_1", "a_2", "c"]


def read(entry):
    return unlabelled_groups({"crln": {"unlabelled_groups": entry}}, CASES)


def test_cases_are_grouped_and_the_rest_is_a_group():
    assert read({"site A": "a_*", "site B": "b_*"}) == {"site A": ["a_1", "a_2"], "site B": ["b_2"], OTHERS: ["c"]}
    assert read({"all": "*"}) == {"all": ["a_1", "a_2", "b_2", "c"]}
    assert unlabelled_groups({}, CASES) == unlabelled_groups({"crln": {}}, CASES) == {}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"site A": "a1"}, "no unlabelled case matches 'a1'.*Did you mean a_1"),
        ({"one": "a_*", "two": "*_1"}, "puts a_1 into 'one' and into 'two'"),
        (["a_*"], "expected a pattern of case names by group"),
        ({"site A": ["a_*"]}, "expected a pattern of case names by group"),
    ],
)
def test_what_makes_no_sense_is_refused(entry, message):
    with pytest.raises(UserError, match=message):
        read(entry)
