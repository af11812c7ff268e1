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
from collections.abc import Callable
from pathlib import Path

import alerts
import copies
import fit
import refused
import render
import schema
import start
from manifests import Release

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHARTS = sorted(path.parent for path in (ROOT / "deploy/helm").glob("*/Chart.yaml"))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools")
    parser.add_argument("--rendered", type=Path, default=ROOT / "target/rendered")
    parser.add_argument("--programs", type=Path, default=ROOT / "target/debug", help="folder of toolgate and vmcp")
    given = parser.parse_args()
    tools = given.tools.resolve()

    failed = False

    def step(name: str, look: Callable[[], tuple[str, list[str]]]) -> None:
        nonlocal failed
        began = time.monotonic()
        done, wrong = look()
        print(f"{name:8} {done} ({time.monotonic() - began:.1f} s)", flush=True)
        for line in wrong:
            print(f"error: {line}", file=sys.stderr, flush=True)
        failed = failed or bool(wrong)

    releases: list[Release] = []
    step("copies", lambda: copies.check(ROOT, CHARTS))
    step("lint", lambda: render.lint(tools, CHARTS))
    step("render", lambda: render.render(tools, ROOT, CHARTS, given.rendered, releases))
    step("schema", lambda: schema.check(tools, ROOT, releases))
    step("fit", lambda: fit.check(releases))
    step("alerts", lambda: alerts.check(tools, releases))
    step("start", lambda: start.check(given.programs.resolve(), ROOT, releases))
    step("refused", lambda: refused.check(tools, CHARTS, HERE / "refused.yaml"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
