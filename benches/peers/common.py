"""What the pieces of run.py have in common: running a program, installing one, and what a piece gives."""

import dataclasses
import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAIN = HERE.parent.parent
TARGET = MAIN / "target" / "peers"


class Failed(Exception):
    """A command that failed, with what it said."""


class NotHere(Exception):
    """Why a peer cannot be measured on this machine, or is not asked for."""


def run(*command, cwd=MAIN, **env):
    """What the command prints."""
    command = [str(word) for word in command]
    environment = os.environ | {name: str(value) for name, value in env.items()}
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise Failed(f"`{command[0]}`: {error.strerror}") from error
    if done.returncode != 0:
        raise Failed(f"`{' '.join(command)}` failed ({done.returncode})\n{done.stdout}{done.stderr}")
    return done.stdout


def debian(tools):
    """Installs the packages of what is missing: of a dictionary of tools, or files, and packages."""
    missing = [package for tool, package in tools.items() if not (shutil.which(tool) or Path(tool).exists())]
    if missing:
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing)


@functools.cache
def ours():
    """The program, the SQL workload and the client of a storage account, compiled: the files by name."""
    cargo = ["cargo", "bench", "--locked", "--no-run", "--message-format=json"]
    printed = run(*cargo, "--bench", "sql", "--bench", "storage")
    made = [json.loads(line) for line in printed.splitlines()]
    return {m["target"]["name"]: m["executable"] for m in made if m.get("executable")}


@dataclasses.dataclass
class Row:
    """One kind of work: what it is without encryption, and the ratios of the others to that."""

    work: str
    plain: str
    ratios: dict


class Piece:
    """Subjects that do the same work, and what came of it."""

    def __init__(self):
        self.rows, self.notes = [], []
        # Peers that are not measured, each with the exception that says why.
        self.left_out = {}

    def has(self, peer, install):
        """Whether the peer is there, after `install`."""
        try:
            install()
            return True
        except (Failed, NotHere) as why:
            self.left_out[peer] = why
            print(f"{peer} is left out: {why}", file=sys.stderr)
            return False


def turns(subjects, number):
    """The order of round `number`: each goes first, and before and after its neighbour, about as often as the others."""
    start = number % len(subjects)
    order = subjects[start:] + subjects[:start]
    return order[:: 1 if number % 2 == 0 else -1]


def medians(taken):
    """Of lists, by the same keys."""
    return {key: statistics.median(values) for key, values in taken.items()}


def machine(directory):
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in about if line.startswith("model name")), "?")
    kind = run("stat", "-f", "-c", "%T", directory).strip()
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, files on {kind}"


def load():
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())
