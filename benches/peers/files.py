#!/usr/bin/env python3
"""Files beside other programs that encrypt files: put and get of one file, each round of each program in turn.

    benches/peers/files.py              256 MiB, 5 rounds; installs what is missing from the registries
    benches/peers/files.py --quick      4 MiB, 3 rounds, and only what is installed: whether it works
    benches/peers/files.py --dir DIR    on the disk of DIR

One table of medians: seconds of a copy by cp, and ratios of the others to it. Each put is on the disk when its
time ends (a sync of the file, for those that do not sync by themselves); a get is not synced, as cp is not.
"""

import argparse
import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAIN = HERE.parent.parent
TARGET = MAIN / "target" / "peers"
RAGE = "0.12.1"
DEBIAN = {"age": "age", "gocryptfs": "gocryptfs", "fusermount": "fuse3", "openssl": "openssl"}


def run(*command, **options):
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\n`{' '.join(command)}` failed ({done.returncode})")
    return done.stdout


def install():
    """What is missing of the programs that the registries have."""
    missing = [package for tool, package in DEBIAN.items() if not shutil.which(tool)]
    if missing:
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-y", "-q", *missing)
    if not (TARGET / "bin" / "rage").exists():
        run("cargo", "install", "--quiet", "--locked", "--root", TARGET, "rage", "--version", RAGE)


def found(tool):
    here = TARGET / "bin" / tool
    return str(here) if here.exists() else shutil.which(tool)


def sync(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


class Cp:
    """The baseline: no encryption."""

    name, note, tools = "cp", "no encryption", []

    def __init__(self, work, source):
        self.source, self.stored, self.back = source, work / "stored", work / "back"
        self.prepare(work)

    def prepare(self, work):
        pass

    def put(self):
        run("cp", self.source, self.stored)
        sync(self.stored)

    def get(self):
        run("cp", self.stored, self.back)

    def between(self):
        """After a put, before the get; not timed."""

    def close(self):
        pass


class Atrest(Cp):
    name, note, tools = "atrest", "AES-256-GCM in chunks of 64 KiB; vault, catalog and audit record included", []
    backend = "aws-lc-rs"

    def prepare(self, work):
        self.call = [ATREST, "--vault-url=", "--dir", work / "atrest", "--quiet", "--backend", self.backend]
        run(*self.call, "init", "--key-kind", "oct-256")
        run(*self.call, "blob", "create", "documents")

    def put(self):
        run(*self.call, "blob", "put", "documents", self.source, "file")

    def get(self):
        run(*self.call, "blob", "get", "documents", "file", self.back)


class AtrestPure(Atrest):
    name, note, backend = "atrest, aes-gcm", "the same by the pure Rust library", "aes-gcm"


class Age(Cp):
    name, note, tools = "age", "ChaCha20-Poly1305 in chunks of 64 KiB, X25519; in Go", ["age", "age-keygen"]

    def prepare(self, work):
        self.tool, keygen = map(found, self.tools)
        self.key = work / "identity"
        run(keygen, "-o", self.key)
        lines = self.key.read_text().splitlines()
        self.to = next(line.split(": ")[1] for line in lines if line.startswith("# public key"))

    def put(self):
        self.stored.unlink(missing_ok=True)
        run(self.tool, "-r", self.to, "-o", self.stored, self.source)
        sync(self.stored)

    def get(self):
        self.back.unlink(missing_ok=True)
        run(self.tool, "-d", "-i", self.key, "-o", self.back, self.stored)


class Rage(Age):
    name, note, tools = "rage", "the same format; in Rust", ["rage", "rage-keygen"]


class OpenSsl(Cp):
    name, note, tools = "openssl enc", "AES-256-CTR with a raw key: NOT authenticated", ["openssl"]

    def prepare(self, work):
        self.call = ["openssl", "enc", "-aes-256-ctr", "-K", "2f" * 32, "-iv", "00" * 16]

    def put(self):
        run(*self.call, "-in", self.source, "-out", self.stored)
        sync(self.stored)

    def get(self):
        run(*self.call, "-d", "-in", self.stored, "-out", self.back)


class GoCryptFs(Cp):
    name, note, tools = "gocryptfs", "AES-256-GCM in blocks of 4 KiB, a FUSE file system; mounted anew before the get", ["gocryptfs", "fusermount"]

    def prepare(self, work):
        self.below, self.mount, self.password = work / "cipher", work / "mount", work / "password"
        self.below.mkdir(), self.mount.mkdir(), self.password.write_text("not a secret\n")
        run("gocryptfs", "-q", "-init", "-passfile", self.password, self.below)
        self.stored = self.mount / "file"
        self.mounted = False
        self.turn(True)

    def turn(self, on):
        if on and not self.mounted:
            run("gocryptfs", "-q", "-passfile", self.password, self.below, self.mount)
        if self.mounted and not on:
            run("fusermount", "-u", self.mount)
        self.mounted = on

    def between(self):
        self.turn(False), self.turn(True)

    def close(self):
        self.turn(False)


def usable(program):
    missing = [tool for tool in program.tools if not found(tool)]
    if program is GoCryptFs and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        missing.append("/dev/fuse")
    if missing:
        print(f"{program.name} is left out: {', '.join(missing)} missing", file=sys.stderr)
    return not missing


def measure(programs, rounds, source):
    taken = {p.name: {"put": [], "get": []} for p in programs}
    # The first round warms up.
    for number in range(rounds + 1):
        turn = number % len(programs)
        for program in programs[turn:] + programs[:turn]:
            for work in ("put", "get"):
                begun = time.perf_counter()
                getattr(program, work)()
                seconds = time.perf_counter() - begun
                if number > 0:
                    taken[program.name][work].append(seconds)
                if work == "put":
                    program.between()
            if program.back.read_bytes() != source:
                sys.exit(f"{program.name} did not give back what it was given")
            program.back.unlink()
    return taken


def machine(directory):
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in about if line.startswith("model name")), "?")
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    kind = run("stat", "-f", "-c", "%T", directory).strip()
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, {kind}; load {load}"


def main():
    global ATREST
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="4 MiB, 3 rounds, nothing is installed")
    parser.add_argument("--mib", type=int, help="of the file")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="whose disk is measured")
    parser.add_argument("--program", help="an atrest that is built already")
    asked = parser.parse_args()
    mib, rounds = asked.mib or (4 if asked.quick else 256), asked.rounds or (3 if asked.quick else 5)
    if not asked.quick:
        install()
    if not asked.program:
        run("cargo", "build", "--locked", "--release", "--bin", "atrest", cwd=MAIN)
    ATREST = asked.program or MAIN / "target" / "release" / "atrest"
    before = machine(asked.dir)
    with tempfile.TemporaryDirectory(dir=asked.dir, prefix="atrest-peers-") as work:
        work, programs = Path(work), []
        source = os.urandom(mib << 20)
        (work / "source").write_bytes(source)
        try:
            for program in filter(usable, (Cp, Atrest, AtrestPure, Age, Rage, OpenSsl, GoCryptFs)):
                place = work / program.name.replace(" ", "-")
                place.mkdir()
                programs.append(program(place, work / "source"))
            taken = measure(programs, rounds, source)
        finally:
            for program in programs:
                program.close()
    print(f"{datetime.date.today()}, {mib} MiB, {rounds} rounds: medians; `{' '.join(sys.argv)}`")
    print(f"Before: {before}\nAfter:  {machine(asked.dir)}\n")
    print("| | put | get | |\n|---|---:|---:|---|")
    median = {(p, w): statistics.median(t) for p, of in taken.items() for w, t in of.items()}
    for program in programs:
        cells = []
        for work in ("put", "get"):
            own, base = median[program.name, work], median["cp", work]
            cells.append(f"{own:.3f} s" if program.name == "cp" else f"{own / base:.2f}")
        print(f"| {program.name} | {' | '.join(cells)} | {program.note} |")


main()
