"""The sample notebook as the extension describes it: its outline, and the cells in it."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from typing import Any, Final

__all__ = ["CELLS", "read_outline"]

Cell = dict[str, Any]


def read_outline() -> list[Cell]:
    """Return a reference of every cell: its heading, and a code cell's number among those below that heading."""
    sample = resources.files("cell_monitor").joinpath("sample", "first-steps.ipynb")
    outline = []
    heading = None
    below: Counter[str] = Counter()
    for index, cell in enumerate(json.loads(sample.read_text("utf-8"))["cells"]):
        if cell["cell_type"] == "markdown":
            titles = [line for line in "".join(cell["source"]).splitlines() if line.startswith("#")]
            heading = titles[-1].lstrip("#").strip() if titles else heading
        reference: Cell = {"id": cell["id"], "source_id": cell["id"], "index": index, "type": cell["cell_type"]}
        if heading is not None:
            reference["heading"] = heading
            if cell["cell_type"] == "code":
                below[heading] += 1
                reference["ordinal"] = below[heading]
        outline.append(reference)
    return outline


CELLS: Final[dict[str, Cell]] = {cell["id"]: cell for cell in read_outline()}
"""The cells of the notebook by their id, in its order."""
