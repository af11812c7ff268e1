"""What stands in more than one place and must be the same there."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml


def check(root: Path, charts: list[Path]) -> tuple[str, list[str]]:
    wrong: list[str] = []
    pairs = copies(root)
    for source, copy in pairs:
        if not copy.exists() or not source.exists() or source.read_bytes() != copy.read_bytes():
            names = (source.relative_to(root), copy.relative_to(root))
            wrong.append(f"{names[1]} is not as {names[0]}: `make chart-copies`")
    version = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    rows = 0
    for chart in charts:
        meta = yaml.safe_load((chart / "Chart.yaml").read_text())
        if meta["appVersion"] != version:
            wrong.append(f"{chart.name}: appVersion is {meta['appVersion']}, and the workspace is {version}")
        table = readme(chart)
        rows += len(table)
        wrong += [f"{chart.name}/README.md: {said}" for said in compare(chart, table)]
    return f"{len(pairs)} copies, {rows} rows of values", wrong


def copies(root: Path) -> list[tuple[Path, Path]]:
    """Source and copy. Definitions on either side alone are of a pair too, which then differs."""
    chart = root / "deploy/helm/toolgate"
    pairs = [
        (root / "deploy/observability" / name, chart / "files" / name)
        for name in ("alerts.yaml", "grafana-dashboard.json")
    ]
    definitions = {
        file.name for folder in (root / "deploy/crds", chart / "crds") for file in folder.glob("*.yaml")
    }
    return pairs + [(root / "deploy/crds" / name, chart / "crds" / name) for name in sorted(definitions)]


def readme(chart: Path) -> dict[str, str]:
    """The rows of the table of values: path and default."""
    row = re.compile(r"^\| `([\w.]+)` \| (.*?) \|", re.MULTILINE)
    return dict(row.findall((chart / "README.md").read_text()))


def compare(chart: Path, table: dict[str, str]) -> list[str]:
    values = yaml.safe_load((chart / "values.yaml").read_text())
    found = []
    for path, default in table.items():
        try:
            value = at(values, path)
        except KeyError:
            found.append(f"`{path}` is no value")
            continue
        # Without backticks it is in words.
        if default.startswith("`") and yaml.safe_load(default.strip("`")) != value:
            found.append(f"`{path}` is {value!r}, not {default}")
    for path in leaves(values):
        if not any(path == row or path.startswith(f"{row}.") for row in table):
            found.append(f"`{path}` is not in the table")
    return found


def at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


def leaves(values: dict[str, Any], above: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found += leaves(value, f"{above}{key}.") if isinstance(value, dict) and value else [f"{above}{key}"]
    return found
