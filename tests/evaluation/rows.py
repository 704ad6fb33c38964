"""What the tests of evaluation share: the table as anybody reads it."""

from __future__ import annotations

import csv
from types import SimpleNamespace

HEADER = (
    "id,reduction,method,answer,expected,correct,agrees,new_tokens,visual_tokens,achieved_reduction,visual_gflops,"
    "total_gflops,model,max_new_tokens,image_aspect,dtype,weights,recipe,kind,question,image,margin"
)


def rows_of(tmp_path) -> list[SimpleNamespace]:
    """The lines of the table, as anybody reads it."""
    numbers = {"reduction": float, "new_tokens": int, "visual_tokens": int, "achieved_reduction": float,
               "visual_gflops": float, "total_gflops": float}  # fmt: skip
    with open(tmp_path / "out" / "results.csv", newline="", encoding="utf-8") as file:
        rows = [{name: numbers.get(name, str)(text) for name, text in row.items()} for row in csv.DictReader(file)]
    return [SimpleNamespace(**row, key=(row["id"], row["reduction"], row["method"])) for row in rows]
