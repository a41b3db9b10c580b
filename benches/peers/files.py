"""Files beside other programs that encrypt files: put and get of one file, each round of each program in turn, and
ratios to cp. Each put is on the disk when its time ends (a sync of the file, for those that do not sync by
themselves); a get is not synced, as cp is not.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from common import TARGET, NotHere, Piece, Row, debian, medians, ours, run, turns

RAGE = "0.12.1"


def found(tool):
    here = TARGET / "bin" / tool
    return str(here) if here.exists() else shutil.which(tool)


def sync(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


class Cp:
    """The baseline: no encryption."""

    name, note = "plain", "cp"

    @staticmethod
    def install(quick):
        """Has what it needs, or fails."""

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
    name, backend = "atrest", "aws-lc-rs"
    note = "AES-256-GCM in chunks of 64 KiB; a process each, with its vault, catalog and audit record"

    def prepare(self, work):
        where = ["--vault-url=", "--dir", work / "atrest", "--quiet"]
        self.call = [ours()["atrest"], *where, "--backend", self.backend]
        run(*self.call, "init", "--key-kind", "oct-256")
        run(*self.call, "blob", "create", "documents")

    def put(self):
        run(*self.call, "blob", "put", "documents", self.source, "file")

    def get(self):
        run(*self.call, "blob", "get", "documents", "file", self.back)


class AtrestPure(Atrest):
    name, backend, note = "aes-gcm", "aes-gcm", "the same by the library in Rust alone"


class Age(Cp):
    name, tools = "age", ["age", "age-keygen"]
    note = "ChaCha20-Poly1305 in chunks of 64 KiB, X25519; in Go"

    @staticmethod
    def install(quick):
        debian({"age": "age"})

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
    name, tools, note = "rage", ["rage", "rage-keygen"], "age's format; in Rust"

    @staticmethod
    def install(quick):
        if not found("rage"):
            if quick:
                raise NotHere("it takes minutes to compile; without --quick it is")
            run("cargo", "install", "--quiet", "--locked", "--root", TARGET, "rage", "--version", RAGE)


class OpenSsl(Cp):
    name, note = "openssl enc", "AES-256-CTR with a raw key: NOT authenticated"

    @staticmethod
    def install(quick):
        debian({"openssl": "openssl"})

    def prepare(self, work):
        self.call = ["openssl", "enc", "-aes-256-ctr", "-K", "2f" * 32, "-iv", "00" * 16]

    def put(self):
        run(*self.call, "-in", self.source, "-out", self.stored)
        sync(self.stored)

    def get(self):
        run(*self.call, "-d", "-in", self.stored, "-out", self.back)


class GoCryptFs(Cp):
    name = "gocryptfs"
    note = "AES-256-GCM in blocks of 4 KiB, a FUSE file system; mounted anew before the get"

    @staticmethod
    def install(quick):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise NotHere("no /dev/fuse here")
        debian({"gocryptfs": "gocryptfs", "fusermount": "fuse3"})

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


def measure(asked):
    piece = Piece()
    mib = asked.mib or (4 if asked.quick else 256)
    rounds = asked.rounds or (3 if asked.quick else 5)
    peers = [Age, Rage, OpenSsl, GoCryptFs]
    there = [Cp, Atrest, AtrestPure]
    there += [peer for peer in peers if piece.has(peer.name, lambda peer=peer: peer.install(asked.quick))]
    with tempfile.TemporaryDirectory(dir=asked.dir, prefix="atrest-peers-") as work:
        work, subjects = Path(work), []
        source = os.urandom(mib << 20)
        (work / "source").write_bytes(source)
        try:
            for subject in there:
                place = work / subject.name.replace(" ", "-")
                place.mkdir()
                subjects.append(subject(place, work / "source"))
            median = medians(take(subjects, rounds, source))
        finally:
            for subject in subjects:
                subject.close()
    for work in ("put", "get"):
        ratios = {s.name: median[s.name, work] / median["plain", work] for s in subjects if s.name != "plain"}
        piece.rows.append(Row(f"file: {work}, {mib} MiB", f"{median['plain', work]:.3f} s", ratios))
    piece.notes.append(f"file: {rounds} rounds; " + "; ".join(f"{s.name}: {s.note}" for s in subjects))
    return piece


def take(subjects, rounds, source):
    """Seconds by subject and work."""
    taken = {}
    # The first round warms up.
    for number in range(rounds + 1):
        for subject in turns(subjects, number):
            for work in ("put", "get"):
                begun = time.perf_counter()
                getattr(subject, work)()
                seconds = time.perf_counter() - begun
                if number > 0:
                    taken.setdefault((subject.name, work), []).append(seconds)
                if work == "put":
                    subject.between()
            if subject.back.read_bytes() != source:
                sys.exit(f"{subject.name} did not give back what it was given")
            subject.back.unlink()
        print(f"file: round {number} of {rounds}", file=sys.stderr)
    return taken
