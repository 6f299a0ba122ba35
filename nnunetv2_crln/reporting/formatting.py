"""Format numbers and names of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnunetv2_crln.raw_dataset.classes import class_values


def plain_number(value: float | None) -> str:
    """Format a number with three decimals; None and NaN are a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def class_name(dataset: Mapping, key: str) -> str:
    """Find the name of a class or region, which nnU-Net's summaries identify by its values.

    Args:
        dataset: Content of dataset.json.
        key: Value of the class, or values of the region, as nnU-Net writes them: ``"1"`` or ``"(1, 2)"``.

    Returns:
        Its name; the key itself if dataset.json does not list it.
    """
    names = {str(values): name for name, values in class_values(dataset).items()}
    return names.get(key, names.get(f"({key},)", key))
