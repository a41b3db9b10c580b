#!/usr/bin/env python3
"""Sealed files beside plain SQLite, SQLCipher and SQLite3 Multiple Ciphers: the same workload, each
round of each subject in a process of its own, interleaved; one table of medians at the end.

    benches/peers/run.py            a million rows, 5 rounds
    benches/peers/run.py --quick    50,000 rows, 3 rounds: whether it works, not how fast things are
    benches/peers/run.py --only "index build"

Then files beside age, rage, gocryptfs and openssl (files.py). It installs what it needs from package registries (README.md beside it says what), and builds in target/.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAIN = HERE.parent.parent
TARGET = MAIN / "target" / "peers"

# Their C source comes with this package of the npm registry.
CIPHERS = ("better-sqlite3-multiple-ciphers", "13.0.3")
CIPHERS_SHA256 = "24a11e221247fc003f755ad0f82126bc6b0295d0be1c06f3cb3e48d9db8eb898"

# With what rusqlite compiles its SQLite, so that all builds are alike; and temporary files in memory, as in
# SQLCipher's build, since these ciphers do not seal them.
FLAGS = """
    -O3 -w -fPIC -DSQLITE_CORE -DSQLITE_DEFAULT_FOREIGN_KEYS=1 -DSQLITE_ENABLE_API_ARMOR
    -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_ENABLE_FTS3
    -DSQLITE_ENABLE_FTS3_PARENTHESIS -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_JSON1
    -DSQLITE_ENABLE_LOAD_EXTENSION=1 -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_STAT4 -DSQLITE_SOUNDEX
    -DSQLITE_THREADSAFE=1 -DSQLITE_USE_URI -DHAVE_USLEEP=1 -DHAVE_ISNAN
    -D_POSIX_THREAD_SAFE_FUNCTIONS -DHAVE_LOCALTIME_R -DSQLITE_TEMP_STORE=2
""".split()


def run(*command, cwd=MAIN, **env):
    """What the command prints; its errors are shown, and end this program."""
    command = [str(word) for word in command]
    environment = os.environ | {name: str(value) for name, value in env.items()}
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n`{' '.join(command)}` failed ({done.returncode})")
    return done.stdout


def install():
    """Debian's packages that are missing."""
    wanted = {"cc": ["gcc", "libc6-dev"], "ar": ["binutils"], "npm": ["npm"]}
    missing = [package for tool in wanted if not shutil.which(tool) for package in wanted[tool]]
    if not Path("/usr/include/openssl/crypto.h").exists():
        missing.append("libssl-dev")
    if missing:
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-y", "-q", *missing)


def ciphers_library():
    """Directories of the header and of the static library of SQLite3 Multiple Ciphers."""
    name, version = CIPHERS
    home = TARGET / f"{name}-{version}"
    source, library = home / "package" / "deps" / "sqlite3", home / "libsqlite3.a"
    if not library.exists():
        home.mkdir(parents=True, exist_ok=True)
        packed = home / run("npm", "pack", "--silent", f"{name}@{version}", cwd=home).split()[-1]
        if hashlib.sha256(packed.read_bytes()).hexdigest() != CIPHERS_SHA256:
            sys.exit(f"{packed} is not the package that was pinned")
        with tarfile.open(packed) as archive:
            archive.extractall(home, filter="data")
        run("cc", *FLAGS, "-c", source / "sqlite3.c", "-o", home / "sqlite3.o")
        run("ar", "rcs", "libsqlite3.a", "sqlite3.o", cwd=home)
    return source, home


def build():
    """The programs: ours, one with SQLCipher, one with SQLite3 Multiple Ciphers."""
    bench = ["cargo", "bench", "--locked", "--bench", "sql", "--no-run", "--message-format=json"]
    messages = [json.loads(line) for line in run(*bench).splitlines()]
    ours = [m["executable"] for m in messages if m.get("target", {}).get("name") == "sql"]
    cargo = ["cargo", "build", "--locked", "--release", "--quiet"]
    cipher, ciphers = TARGET / "sqlcipher", TARGET / "ciphers"
    run(*cargo, "--features", "sqlcipher", cwd=HERE, CARGO_TARGET_DIR=cipher)
    header, library = ciphers_library()
    run(
        *cargo,
        cwd=HERE,
        CARGO_TARGET_DIR=ciphers,
        SQLITE3_LIB_DIR=library,
        SQLITE3_INCLUDE_DIR=header,
        SQLITE3_STATIC=1,
    )
    return ours[-1], cipher / "release" / "peers", ciphers / "release" / "peers"


def subjects():
    """Name, command, and the name of the plain SQLite of the same build."""
    ours, cipher, ciphers = build()
    backends = [f"{b}/{f}" for b in ("aws-lc-rs", "aes-gcm") for f in ("not-kept", "kept")]
    found = [("plain", [ours, "plain"], "plain")]
    found += [(f"atrest {name}", [ours, name], "plain") for name in backends]
    for program, names in ((cipher, ["sqlcipher"]), (ciphers, ["chacha20", "aegis"])):
        plain = f"plain, with {names[0]}"
        found.append((plain, [program, "plain"], plain))
        found += [(name, [program, name], plain) for name in names]
    return found


def measure(found, rows, rounds, only):
    """What each subject took, round by round: name of work to seconds; and the versions."""
    taken, versions = {name: {} for name, _, _ in found}, set()
    for number in range(rounds):
        # Each goes first, and before and after its neighbour, about as often as the others.
        start = number % len(found)
        order = (found[start:] + found[:start])[:: 1 if number % 2 == 0 else -1]
        for name, command, _ in order:
            printed = run(*command, rows, *([only] if only else []))
            lines = dict(line.split("\t") for line in printed.splitlines())
            versions.add(lines.pop("version"))
            for work, seconds in lines.items():
                taken[name].setdefault(work, []).append(float(seconds))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return taken, versions


def table(found, taken):
    """Medians: seconds of the plain ones, ratios of the others to the plain one of their build."""
    median = {
        (name, work): statistics.median(values)
        for name, of_work in taken.items()
        for work, values in of_work.items()
    }
    works = list(taken[found[0][0]])
    lines = ["| | " + " | ".join(works) + " |", "|---|" + "---:|" * len(works)]
    for name, _, plain in found:
        cells = []
        for work in works:
            own, base = median[name, work], median[plain, work]
            if work == "file size":
                cells.append(f"{own / base:.3f}" if name != plain else f"{own / 2**20:.1f} MiB")
            elif name != plain:
                cells.append(f"{own / base:.2f}")
            else:
                cells.append(f"{own:.2f} s")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine():
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in about if line.startswith("model name")), "?")
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; load {load}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="50,000 rows, 3 rounds")
    parser.add_argument("--rows", type=int, help="of 100 bytes")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", metavar="WORK", help="one kind of work")
    asked = parser.parse_args()
    rows = asked.rows or (50_000 if asked.quick else 1_000_000)
    rounds = asked.rounds or (3 if asked.quick else 5)
    install()
    found = subjects()
    before = machine()
    taken, versions = measure(found, rows, rounds, asked.only)
    print(f"{datetime.date.today()}, {rows} rows, {rounds} rounds: medians; seconds of plain SQLite,")
    print("and ratios to the plain SQLite of the same build.")
    print(f"Before: {before}\nAfter:  {machine()}\n")
    print(table(found, taken), "\n")
    for version in sorted(versions):
        print(f"- {version}")
    if not asked.only:
        # Files and blobs, each by a program of its own that prints its table.
        for other in ("files.py", "blob.py"):
            if (HERE / other).exists():
                print()
                print(run(HERE / other, *(["--quick"] if asked.quick else [])))


main()
