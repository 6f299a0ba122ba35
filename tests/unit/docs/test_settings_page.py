"""docs/settings.md says of every key what the code says."""

import dataclasses
import json
import re
from pathlib import Path

from nnunetv2_crln.settings import CRLNSettings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \| ([^|]+) \| [^|]+ \| [^|]{20,} \|$", re.MULTILINE)


def test_every_key_has_a_row_with_its_default_and_range():
    rows = {
        key: (json.loads(default), allowed.strip())
        for key, default, allowed in ROW.findall(PAGE.read_text(encoding="utf-8"))
    }
    fields = {f.name: (f.default, f.metadata["allowed"]) for f in dataclasses.fields(CRLNSettings)}
    assert rows == fields


def test_the_example_block_is_valid():
    block = json.loads("{" + re.search(r'"crln": (\{[^}]*\})', PAGE.read_text(encoding="utf-8")).group(0) + "}")
    assert CRLNSettings.from_plans(block).num_prototypes == 4
