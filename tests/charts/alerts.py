"""The rules of each PrometheusRule, as Prometheus reads them."""

import subprocess
import tempfile
from pathlib import Path

import yaml

from manifests import Release, label


def check(tools: Path, releases: list[Release]) -> tuple[str, list[str]]:
    wrong, count = [], 0
    for release in releases:
        for rule in release.of("PrometheusRule"):
            count += 1
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                yaml.safe_dump(rule["spec"], file)
                file.flush()
                command = [tools / "bin/promtool", "check", "rules", file.name]
                result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if result.returncode:
                wrong.append(f"{release.name}: {label(rule)}: {result.stdout}{result.stderr}")
    if not count:
        wrong.append("no variant renders a PrometheusRule")
    return f"{count} PrometheusRules", wrong
