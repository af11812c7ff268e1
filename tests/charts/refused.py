"""Values that a chart must refuse, and what Helm must say."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from render import template


def check(tools: Path, charts: list[Path], table: Path) -> tuple[str, list[str]]:
    cases = yaml.safe_load(table.read_text())
    by_name = {chart.name: chart for chart in charts}

    def one(chart: str, case: dict[str, Any]) -> str | None:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(case["values"], file)
            file.flush()
            result = template(tools, by_name[chart], Path(file.name))
        if result.returncode == 0:
            return f"{chart}: {case['values']} is rendered"
        if case["says"] not in result.stderr:
            return f"{chart}: {case['values']}: Helm says {result.stderr.strip()!r}, not {case['says']!r}"
        return None

    work = [(chart, case) for chart, of_chart in cases.items() for case in of_chart]
    with ThreadPoolExecutor(2) as pool:
        wrong = [said for said in pool.map(lambda args: one(*args), work) if said]
    return f"{len(work)} sets of values", wrong
