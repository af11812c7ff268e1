"""Checks everything that deploy/ would put into a cluster. `make charts` runs it.

    copies     what a chart holds a copy of is as its source; versions, README and schema agree with
               the values
    lint       helm lint --strict, with default values and each variant in ci/
    render     helm template of the same, kept in the folder of --rendered; kubectl kustomize
    schema     every manifest against the schemas of the oldest and the newest Kubernetes, unknown
               fields refused; custom resources against their own definitions
    fit        what manifests say of each other: Services and Pods, volumes, ports, accounts; the
               Pod Security Standard "restricted"
    alerts     promtool on the PrometheusRule
    start      the container of each variant is started from the real program, with the settings,
               files and environment that the kubelet would give it
    refused    values that must not be rendered, with what Helm says to whoever gives them

All of it is done, and all that is wrong is shown, before it exits with 1.
"""

import argparse
import sys
import time
from pathlib import Path

import alerts
import copies
import fit
import refused
import render
import schema
import start

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHARTS = sorted(path.parent for path in (ROOT / "deploy/helm").glob("*/Chart.yaml"))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools")
    parser.add_argument("--rendered", type=Path, default=ROOT / "target/rendered")
    parser.add_argument("--programs", type=Path, help="folder of toolgate and vmcp")
    given = parser.parse_args()
    tools = given.tools.resolve()

    problems: list[str] = []

    def step(name: str, found: tuple[str, list[str]], began: float) -> None:
        done, wrong = found
        print(f"{name:8} {done} ({time.monotonic() - began:.1f} s)", flush=True)
        for line in wrong:
            print(f"error: {line}", file=sys.stderr, flush=True)
        problems.extend(wrong)

    began = time.monotonic()
    step("copies", copies.check(ROOT, CHARTS), began)

    began = time.monotonic()
    step("lint", render.lint(tools, CHARTS), began)

    began = time.monotonic()
    releases, found = render.render(tools, ROOT, CHARTS, given.rendered)
    step("render", found, began)

    began = time.monotonic()
    step("schema", schema.check(tools, ROOT, releases), began)

    began = time.monotonic()
    step("fit", fit.check(releases), began)

    began = time.monotonic()
    step("alerts", alerts.check(tools, releases), began)

    if given.programs:
        began = time.monotonic()
        step("start", start.check(given.programs.resolve(), ROOT, releases), began)

    began = time.monotonic()
    step("refused", refused.check(tools, CHARTS, HERE / "refused.yaml"), began)

    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
