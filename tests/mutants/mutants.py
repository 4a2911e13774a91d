"""Applies the changes of changes.txt to a copy of the headers, and tries each against the tests that were compiled with them.

    mutants.py apply FROM TO                 copies the folder FROM to TO, with every change
    mutants.py try BUILD CTEST [NUMBER...]   runs the tests of the folder BUILD, once as they are and then with each change
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

CHANGES = pathlib.Path(__file__).with_name("changes.txt")
ENOUGH = 0.95  # of the changes are to be noticed
NOT_OF_BEHAVIOUR = "^(headers|pages|routers_page|compile_fail|consumer|folders|rules|example)"  # compile other headers than the copy


def changes():
    """(header, text, what it becomes) in order. A block is `header`, `- text` and `+ text`, each of the two of one or several lines."""
    for block in CHANGES.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if not lines:
            continue
        part = {mark: "\n".join(line[2:] for line in lines[1:] if line.startswith(mark + " ")) for mark in "-+"}
        if not part["-"] or "@" not in part["+"] or len(lines) != 1 + sum(p.count("\n") + 1 for p in part.values()):
            sys.exit(f"{CHANGES.name}: not a header, then lines '- text' and '+ text with @':\n{block}")
        yield lines[0], part["-"], part["+"]


def apply(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for path in pathlib.Path(target).rglob("*.hpp"):
        path.write_text(path.read_text().replace("#pragma once\n", f'#pragma once\n#include "{CHANGES.with_name("chosen.hpp")}"\n', 1))
    for number, (header, old, new) in enumerate(changes(), 1):
        path = pathlib.Path(target) / "guild" / header
        text = path.read_text()
        if (found := text.count(old)) != 1:
            sys.exit(f"{CHANGES.name}: change {number}: {header} holds this text {found} times, expected once:\n{old}")
        path.write_text(text.replace(old, new.replace("@", f"::mutants::on({number})")))


def noticed(build, ctest, number, only=None):
    command = [ctest, "--test-dir", build, "-j2", "--stop-on-failure", "--timeout", "120", "-E", NOT_OF_BEHAVIOUR]
    environment = {**os.environ, "GUILD_MUTANT": str(number)}
    result = subprocess.run(command + (["-R", only] if only else []), env=environment, capture_output=True, text=True)
    failed = re.findall(r"^\s*\d+ - (\S+) \(", result.stdout, re.M)
    if result.returncode != 0 and not failed:
        sys.exit(result.stdout + result.stderr)
    return failed


def attempt(build, ctest, numbers):
    if failed := noticed(build, ctest, 0):
        sys.exit(f"without a change these tests fail: {', '.join(failed)}")
    missed, tried = [], 0
    for number, (header, old, new) in enumerate(changes(), 1):
        if numbers and number not in numbers:
            continue
        tried += 1
        folder = header.split("/")[0]
        failed = noticed(build, ctest, number, f"^{folder}") or noticed(build, ctest, number)  # what is nearest first
        print(f"{number:3} {header}: {failed[0] if failed else 'NOT NOTICED: ' + new}", flush=True)
        if not failed:
            missed.append(number)
    print(f"{tried - len(missed)} of {tried} changes noticed")
    sys.exit(len(missed) > (1 - ENOUGH) * tried)


if __name__ == "__main__":
    if sys.argv[1] == "apply":
        apply(*sys.argv[2:])
    else:
        attempt(sys.argv[2], sys.argv[3], {int(n) for n in sys.argv[4:]})
