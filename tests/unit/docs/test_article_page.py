"""The paper's values in the documentation are valid settings."""

import json
import re
from pathlib import Path

from nnunetv2_crln.plan_and_preprocess.article import find_protocol
from nnunetv2_crln.settings import CRLNSettings

PAGE = Path(__file__).parents[3] / "docs" / "reproducing_the_article.md"


def test_the_example_configuration_is_that_of_the_protocol():
    example = json.loads(
        "{" + re.search(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1) + "}"
    )
    settings = CRLNSettings.from_plans(example["3d_article"])
    assert settings == CRLNSettings(**find_protocol("left_atrium", 8).settings)


def test_the_named_ablations_are_settings():
    named = re.search(r"Ablations are settings.*?\n\n", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(0)
    keys = set(re.findall(r"`(\w+)`", named))
    assert keys and keys <= set(CRLNSettings.__dataclass_fields__)
