"""Builds all tests of the workspace once, then runs several test programs at a time. `make unit` runs it.

    run.py [--at-once N] [--only PART]... [--without PART]... -- ARGUMENTS OF cargo test

A PART is a program, such as tests/tests/deploy/main.rs, or tests of one: tests/tests/deploy/main.rs:readme::

`cargo test` runs one program after another, and most of them wait more than they compute. The output
of a program is printed when the program ends, in the form that cargo gives it. The exit code is 1 if
a program fails or hangs.

The file suite.json in the target folder keeps how long each program took, so that the longest start
first the next time.
"""

import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# The longest program takes a tenth of this on two cores.
WITHIN_SECONDS = 1200
# What tests start, in the folder of the profile.
STARTED = ("toolgate", "vmcp", "examples/backend")


@dataclass
class Test:
    """A test program, or the examples in the documentation of all crates."""

    name: str
    command: list[str]
    # Of its package; cargo runs it there and tells it so: insta and proptest keep files there.
    folder: Path | None
    # Tests that must be among those that run, by parts of their names.
    filters: tuple[str, ...] = ()


@dataclass
class Outcome:
    test: Test
    output: str
    wrong: str | None
    wall_seconds: float
    cpu_seconds: float


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", action="append", default=[], metavar="PART")
    parser.add_argument("--without", action="append", default=[], metavar="PART")
    parser.add_argument("arguments", nargs="+", help="what cargo test is given; after --")
    given = parser.parse_args()

    tests, programs = build(given.arguments)
    os.environ["TOOLGATE_TEST_PROGRAMS"] = str(programs)
    tests.append(Test("examples in documentation", ["cargo", "test", "--doc", *given.arguments], None))
    tests = chosen(tests, given.only, given.without)
    record = programs.parent / "suite.json"
    before = json.loads(record.read_text()) if record.exists() else {}
    # A program that has never run may be a long one.
    tests.sort(key=lambda test: before.get(test.name, WITHIN_SECONDS), reverse=True)

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(given.at_once) as pool:
        running = [pool.submit(run, test) for test in tests]
        outcomes = [done.result() for done in concurrent.futures.as_completed(running)]
    record.write_text(json.dumps(before | {done.test.name: done.wall_seconds for done in outcomes}, indent=1))
    return summary(outcomes, time.monotonic() - began)


def build(arguments: list[str]) -> tuple[list[Test], Path]:
    """The test programs, and the folder of the programs that they start."""
    command = ["cargo", "test", "--no-run", "--message-format=json-render-diagnostics", *arguments]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit(built.returncode)
    made = [json.loads(line) for line in built.stdout.splitlines()]
    made = [unit for unit in made if unit.get("executable")]
    tests = []
    for unit in made:
        if unit["profile"]["test"]:
            folder = Path(unit["manifest_path"]).parent
            source = Path(unit["target"]["src_path"]).relative_to(folder)
            tests.append(Test(f"{folder.name}/{source}", [unit["executable"]], folder))
    # A test program lies in deps.
    programs = Path(tests[0].command[0]).parent.parent
    absent = {str(programs / name) for name in STARTED} - {unit["executable"] for unit in made}
    if absent:
        sys.exit(f"cargo has not built {', '.join(sorted(absent))}")
    return tests, programs


def chosen(tests: list[Test], only: list[str], without: list[str]) -> list[Test]:
    """A part that is not there is an error: a test that moves must not be lost."""
    wanted, unwanted = parts(only), parts(without)
    absent = (wanted.keys() | unwanted.keys()) - {test.name for test in tests}
    if absent:
        sys.exit(f"there is no {', '.join(sorted(absent))}")
    kept = []
    for test in tests:
        if (only and test.name not in wanted) or unwanted.get(test.name) == []:
            continue
        filters = tuple(wanted.get(test.name, []))
        skipped = [word for name in unwanted.get(test.name, []) for word in ("--skip", name)]
        kept.append(Test(test.name, [*test.command, *filters, *skipped], test.folder, filters))
    return kept


def parts(given: list[str]) -> dict[str, list[str]]:
    """By program; no tests of it means all."""
    chosen: dict[str, list[str]] = {}
    for part in given:
        program, _, tests = part.partition(":")
        chosen.setdefault(program, []).extend([tests] if tests else [])
    return chosen


def run(test: Test) -> Outcome:
    began = time.monotonic()
    late = threading.Event()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            test.command,
            cwd=test.folder,
            env=os.environ | ({"CARGO_MANIFEST_DIR": str(test.folder)} if test.folder else {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def end() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        deadline = threading.Timer(WITHIN_SECONDS, end)
        deadline.start()
        _, status, used = os.wait4(process.pid, 0)
        deadline.cancel()
        output.seek(0)
        said = output.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    wrong = f"did not end within {WITHIN_SECONDS} s" if late.is_set() else f"exit code {code}" if code else None
    absent = [part for part in test.filters if not re.search(rf"^test {re.escape(part)}", said, re.M)]
    if absent:
        wrong = wrong or f"has no test {', '.join(absent)}"
    took = time.monotonic() - began
    done = Outcome(test, said, wrong, took, used.ru_utime + used.ru_stime)
    # One write: programs end at the same time.
    sys.stdout.write(f"\n     Running {test.name} ({took:.1f} s)\n{said}" + (f"error: {test.name}: {wrong}\n" if wrong else ""))
    sys.stdout.flush()
    return done


def summary(outcomes: list[Outcome], wall_seconds: float) -> int:
    outcomes.sort(key=lambda done: done.wall_seconds, reverse=True)
    passed = sum(int(count) for done in outcomes for count in re.findall(r"^test result: .* (\d+) passed", done.output, re.M))
    print("\n  wall    CPU  the ten that took longest")
    for done in outcomes[:10]:
        print(f"{done.wall_seconds:5.1f}s {done.cpu_seconds:5.1f}s  {done.test.name}")
    cpu_seconds = sum(done.cpu_seconds for done in outcomes)
    print(f"{len(outcomes)} programs, {passed} tests passed, {wall_seconds:.0f} s, {cpu_seconds:.0f} s of CPU time")
    failed = [done for done in outcomes if done.wrong]
    for done in failed:
        print(f"error: {done.test.name}: {done.wrong}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
