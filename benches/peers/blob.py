#!/usr/bin/env python3
"""A storage account beside Azurite: the same raw client over plain HTTP on loopback, one server at a time,
taking turns; and files in and out without a server beside `cp`. One table of medians at the end.

    benches/peers/blob.py             1 GiB, 20,000 objects, 3 rounds
    benches/peers/blob.py --quick     64 MiB, 1,000 objects, 1 round: whether it works, not how fast things are

Azurite comes from the npm registry, into target/. Files go below TMPDIR, some GB of them.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parent.parent.parent
TARGET = MAIN / "target" / "peers"
AZURITE = "3.37.0"
# The account that Azurite serves when it is told nothing, with the key that its documentation prints.
PUBLISHED = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)


def run(*command):
    """What the command prints; its errors are shown, and end this program."""
    command = [str(word) for word in command]
    done = subprocess.run(command, cwd=MAIN, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n`{' '.join(command)}` failed ({done.returncode})")
    return done.stdout


def azurite():
    """Azurite's program; installed when it is missing."""
    home = TARGET / f"azurite-{AZURITE}"
    program = home / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        if not shutil.which("npm"):
            run("apt-get", "update", "-q")
            run("apt-get", "install", "-y", "-q", "nodejs", "npm")
        home.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--prefix", home, "--no-audit", "--no-fund", "--silent", f"azurite@{AZURITE}")
    return program


def build():
    """Our program and the client."""
    config = [f"--config={asked.config}"] if asked.config else []
    common = ["cargo", "bench", "--locked", "--no-run", "--message-format=json", *config]
    messages = run(*common, "--bench", "storage").splitlines()
    made = [json.loads(line) for line in messages]
    found = {m["target"]["name"]: m["executable"] for m in made if m.get("executable")}
    return found["atrest"], found["storage"]


class Served:
    """A server that runs, with a container to write to."""

    def __init__(self, command, address, account, directory):
        self.directory, self.address, self.account = directory, address, account
        self.process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        host, port = address.rsplit("/", 1)[1].split(":")
        for _ in range(600):
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                time.sleep(0.05)

    def peak(self):
        """The most memory that was resident, in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.directory)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_azurite(_program):
    directory, port = tempfile.mkdtemp(), free_port()
    options = ["--silent", "--disableTelemetry", "--location", directory, "--blobPort", port]
    # Its launcher, without the shell in between, so that the memory is the server's.
    command = ["node", Path(os.path.realpath(azurite())), *options, "--skipApiVersionCheck"]
    return Served(command, f"http://127.0.0.1:{port}", PUBLISHED, directory)


def start_atrest(program):
    directory, port = tempfile.mkdtemp(), free_port()
    ours = [program, "--quiet", "--dir", directory]
    run(*ours, "init")
    run(*ours, "blob", "create", "bench", *asked.protection)
    keys = json.loads(run(program, "--json", "--dir", directory, "blob", "keys", "bench"))
    command = [*ours, "serve", "--plain-http", "--port", port]
    return Served(command, f"http://127.0.0.1:{port}", ("bench", keys["key1"]), directory)


def measure(program, client, start):
    """One server from its start to its end: what each job gave."""
    served = start(program)
    found = {}

    def job(name, number, connections=1):
        return float(run(client, name, served.address, *served.account, number, connections))

    try:
        job("container", 0)
        found["memory at the start, MiB"] = served.peak()
        for name in ("put", "get", "blocks"):
            found[f"{name}, MB/s"] = asked.mib * 1.048576 / job(name, asked.mib)
        found["memory peak of these, MiB"] = served.peak()
        for name in ("small-put", "small-get"):
            seconds = job(name, asked.objects, asked.connections)
            found[f"{name}, operations/s"] = asked.objects / seconds
        found["memory peak of all, MiB"] = served.peak()
    finally:
        served.stop()
    return found


def without_server(program):
    """Files in and out by the command line, beside `cp`: MB/s."""
    directory = Path(tempfile.mkdtemp())
    found = {}
    try:
        source, target = directory / "from", directory / "to"
        with source.open("wb") as file:
            for _ in range(asked.mib):
                file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())
        ours = [program, "--quiet", "--dir", directory / "work"]
        run(*ours, "init")
        run(*ours, "blob", "create", "bench", *asked.protection)

        def take(name, *command):
            target.unlink(missing_ok=True)
            os.sync()
            begun = time.monotonic()
            run(*command)
            found[name] = asked.mib * 1.048576 / (time.monotonic() - begun)

        take("cp, MB/s", "cp", source, target)
        take("cp and sync, MB/s", "sh", "-c", f"cp '{source}' '{target}' && sync '{target}'")
        take("blob put, MB/s", *ours, "blob", "put", "bench", source, "large")
        take("blob get, MB/s", *ours, "blob", "get", "bench", "large", target)
    finally:
        shutil.rmtree(directory)
    return found


def machine():
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in about if line.startswith("model name")), "?")
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; load {load}"


def main():
    program, client = build()
    azurite()
    print(f"Before: {machine()}", file=sys.stderr)
    rounds = {"atrest": [], "Azurite": [], "files": []}
    for number in range(asked.rounds):
        order = [("atrest", start_atrest), ("Azurite", start_azurite)]
        for name, start in order if number % 2 == 0 else order[::-1]:
            if name == "atrest" or not asked.alone:
                rounds[name].append(measure(program, client, start))
        rounds["files"].append(without_server(program))
        print(f"round {number + 1} of {asked.rounds}", file=sys.stderr)
    medians = {
        name: {key: statistics.median(r[key] for r in found) for key in found[0]}
        for name, found in rounds.items()
        if found
    }
    print(f"{datetime.date.today()}, {asked.mib} MiB, {asked.objects} objects of 64 KiB over", end=" ")
    print(f"{asked.connections} connections, medians of {asked.rounds} rounds. {machine()}\n")
    print("| | atrest | Azurite | ratio |\n|---|---:|---:|---:|")
    for key, ours in medians["atrest"].items():
        theirs = medians.get("Azurite", {}).get(key)
        ratio = f"{theirs:,.0f} | {ours / theirs:.2f}" if theirs else "- | -"
        print(f"| {key} | {ours:,.0f} | {ratio} |")
    print()
    for key, value in medians["files"].items():
        print(f"| {key} | {value:,.0f} |")


parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
parser.add_argument("--quick", action="store_true", help="64 MiB, 1,000 objects, 1 round")
parser.add_argument("--mib", type=int, help="of the large blob")
parser.add_argument("--objects", type=int, help="of 64 KiB")
parser.add_argument("--rounds", type=int)
parser.add_argument("--connections", type=int, default=16, help="for the small objects")
parser.add_argument("--alone", action="store_true", help="without Azurite")
parser.add_argument("--plain", action="store_true", help="an account that is not encrypted")
parser.add_argument("--config", help="for cargo")
asked = parser.parse_args()
asked.mib = asked.mib or (64 if asked.quick else 1024)
asked.objects = asked.objects or (1_000 if asked.quick else 20_000)
asked.rounds = asked.rounds or (1 if asked.quick else 3)
asked.protection = ["--plain"] if asked.plain else []
main()
