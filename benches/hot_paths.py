#!/usr/bin/env python3
"""Counts the instructions of the hot paths under valgrind, and fails when one has grown by more than 15 %.

    benches/hot_paths.py            count, and compare with benches/hot_paths.json
    benches/hot_paths.py --write    count, and write what was counted for this toolchain there

Instructions do not depend on what else the machine does. They do depend on the compilers, so counts are kept for
each toolchain. With one that is not listed only ratios within the run are compared (sealed pages to a bare loop
of the library, sealed SQL to plain), which move less. Valgrind shows programs a processor without AVX-512 and VAES, whichever there is: what
is counted is the path of AES-NI and AVX, not necessarily the one that runs fastest here.

At the end a path that does a fifth more than it has to is held against the baseline of the one that does not:
a check that lets it pass is broken, and this fails.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "hot_paths.json"
GROWTH = 1.15
# Each path, and how often it is gone; what comes before and after is in both counts, and falls out.
PATHS = {
    "page-bare": (200, 600),
    "page-seal": (200, 600),
    "page-open": (200, 600),
    "chunk-seal": (20, 60),
    "key-lookup": (2000, 6000),
    "sql-plain": (300, 900),
    "sql-sealed": (300, 900),
    "sql-fresh": (300, 900),
    "blob-put": (4, 12),
}
CONTROL = "page-seal-slowed"
RATIOS = [
    ("page-seal", "page-bare"),
    ("page-open", "page-bare"),
    ("sql-sealed", "sql-plain"),
    ("sql-fresh", "sql-plain"),
]


def output(*command):
    done = subprocess.run([str(w) for w in command], cwd=HERE.parent, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}\n`{' '.join(map(str, command))}` failed")
    return done.stdout + done.stderr


def build():
    bench = ["cargo", "bench", "--locked", "--bench", "hot_paths", "--no-run", "--message-format=json"]
    lines = [line for line in output(*bench).splitlines() if line.startswith("{")]
    found = [m["executable"] for m in map(json.loads, lines) if m.get("target", {}).get("name") == "hot_paths"]
    return found[-1]


def instructions(program, path, count):
    with tempfile.TemporaryDirectory() as scratch:
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch}/out"]
        text = output(*tool, program, path, count)
    return int(re.search(r"Collected : (\d+)", text)[1])


def cost(program, path, counts):
    few, many = (instructions(program, path, count) for count in counts)
    return round((many - few) / (counts[1] - counts[0]))


def grown(counted, known):
    """What has grown: of counts by toolchain, or else of ratios."""
    return [
        f"{path}: {counted[path]} instructions, {known[path]} before ({counted[path] / known[path]:.2f})"
        for path in counted
        if path in known and counted[path] > known[path] * GROWTH
    ]


def ratios(counted):
    return {f"{a} to {b}": counted[a] / counted[b] for a, b in RATIOS}


def main():
    if not shutil.which("valgrind"):
        print("valgrind is not installed: hot paths are not counted")
        return
    program = build()
    cc = output("cc", "--version").splitlines()[0]
    toolchain = f"{output(program, 'build').strip()}; {cc}"
    print(toolchain)
    counted = {}
    for path, counts in PATHS.items():
        counted[path] = cost(program, path, counts)
        print(f"  {path:12} {counted[path]:>12,} instructions")
    kept = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if "--write" in sys.argv[1:]:
        kept[toolchain] = counted
        BASELINE.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
        return
    if toolchain in kept:
        known = kept[toolchain]
        complaints = grown(counted, known)
    else:
        print("no baseline of this toolchain: ratios within the run are compared")
        known = {name: max(ratios(k)[name] for k in kept.values()) for name in ratios(counted)}
        now = ratios(counted)
        complaints = [
            f"{name}: {now[name]:.2f}, {known[name]:.2f} at most before"
            for name in now
            if now[name] > known[name] * GROWTH
        ]
    slowed = cost(program, CONTROL, PATHS["page-seal"])
    print(f"  {CONTROL}, the control: {slowed:,} instructions")
    if not grown({"page-seal": slowed}, {"page-seal": counted["page-seal"]}):
        complaints.append("a path that was slowed down by a fifth is not noticed: the check is broken")
    if complaints:
        sys.exit("\n".join(["hot paths have grown by more than 15 %:", *complaints]))
    print("no hot path has grown by more than 15 %")


main()
