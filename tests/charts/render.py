"""Real Helm on each chart with default values and with each variant in its ci/, and kubectl on
each kustomization."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from manifests import Release, documents
from schema import VERSIONS

NAMESPACE = "toolgate-system"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def variants(chart: Path) -> list[tuple[str, Path | None]]:
    files = sorted((chart / "ci").glob("*-values.yaml"))
    found = [(file.name.removesuffix("-values.yaml"), file) for file in files]
    # A chart of which nothing can be rendered without values has the least that it needs there.
    if not (chart / "ci/default-values.yaml").exists():
        found.insert(0, ("default", None))
    return found


def lint(tools: Path, charts: list[Path]) -> tuple[str, list[str]]:
    def one(chart: Path, name: str, file: Path | None) -> str | None:
        values = ["--values", file] if file else []
        result = run(tools / "bin/helm", "lint", "--strict", "--quiet", chart, *values)
        if result.returncode:
            return f"{chart.name}/{name}: {result.stdout}{result.stderr}"
        return None

    work = [(chart, *variant) for chart in charts for variant in variants(chart)]
    with ThreadPoolExecutor(2) as pool:
        wrong = [said for said in pool.map(lambda args: one(*args), work) if said]
    return f"{len(work)} sets of values", wrong


def template(
    tools: Path, chart: Path, values: Path | None, kubernetes: str = VERSIONS[-1]
) -> subprocess.CompletedProcess[str]:
    given = ["--values", values] if values else []
    return run(
        tools / "bin/helm", "template", chart.name, chart, "--include-crds",
        "--namespace", NAMESPACE, "--kube-version", f"{kubernetes}.0", *given,
    )  # fmt: skip


def render(
    tools: Path, root: Path, charts: list[Path], keep: Path, releases: list[Release]
) -> tuple[str, list[str]]:
    """Renders into `releases`, and keeps it as files in `keep`, to be looked at."""
    keep.mkdir(parents=True, exist_ok=True)
    for old in keep.glob("*.yaml"):
        old.unlink()
    wrong = []

    def take(name: str, result: subprocess.CompletedProcess[str]) -> Release | None:
        if result.returncode:
            wrong.append(f"{name}: {result.stderr.strip()}")
            return None
        (keep / f"{name.replace('/', '-')}.yaml").write_text(result.stdout)
        try:
            releases.append(Release(name, documents(result.stdout)))
        except yaml.YAMLError as error:
            wrong.append(f"{name}: {error}")
            return None
        return releases[-1]

    oldest, newest = VERSIONS
    work = [(chart, name, file, newest) for chart in charts for name, file in variants(chart)]
    work += [
        (chart, f"{name}-on-{oldest}", file, oldest)
        for chart in charts
        for name, file in variants(chart)
        if name == "default"
    ]
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda args: template(tools, args[0], args[2], args[3]), work)
    for (chart, name, file, _), result in zip(work, results):
        if release := take(f"{chart.name}/{name}", result):
            release.chart = chart.name
            release.values = yaml.safe_load(file.read_text()) if file else {}

    for file in sorted((root / "deploy").rglob("kustomization.yaml")):
        # A component is part of others and cannot be built alone.
        if yaml.safe_load(file.read_text()).get("kind") != "Component":
            name = str(file.parent.relative_to(root / "deploy"))
            take(name, run(tools / "bin/kubectl", "kustomize", file.parent))

    for file in plain_manifests(root):
        try:
            manifests = documents(file.read_text())
        except yaml.YAMLError as error:
            wrong.append(f"{file.relative_to(root)}: {error}")
            continue
        if manifests and all(is_manifest(manifest) for manifest in manifests):
            releases.append(Release(str(file.relative_to(root)), manifests))

    count = sum(len(release.manifests) for release in releases)
    return f"{count} manifests in {len(releases)} renderings and files", wrong


def plain_manifests(root: Path) -> list[Path]:
    """YAML files of deploy/ and examples/ that neither Helm nor kustomize has rendered."""
    files = [*(root / "deploy").rglob("*.y*ml"), *(root / "examples").rglob("*.yaml")]
    rendered = [root / "deploy/helm", *(file.parent for file in files if file.name == "kustomization.yaml")]
    return sorted(file for file in files if not any(file.is_relative_to(folder) for folder in rendered))


def is_manifest(document: object) -> bool:
    """Not so what Compose, Prometheus and our own programs read."""
    return (
        isinstance(document, dict)
        and {"apiVersion", "kind", "metadata"} <= document.keys()
        and "name" in document["metadata"]
    )
