"""JSON files that are either old or new, never half."""

from __future__ import annotations

import json
import os
from pathlib import Path


def read_json(path: str | Path) -> dict:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(content: dict, path: str | Path) -> None:
    """Write a JSON file as nnU-Net formats it; a killed run leaves the previous file intact."""
    path = Path(path)
    # The process id keeps two machines or commands that write the same file apart.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=4), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
