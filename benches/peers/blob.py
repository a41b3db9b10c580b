"""A storage account beside Azurite: the same raw client (benches/storage.rs) over plain HTTP on loopback, one server at
a time, taking turns. Azurite encrypts nothing, and so does the account that both are held against: the same server's
without encryption."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import TARGET, Piece, Row, debian, medians, ours, run, turns

AZURITE = "3.37.0"
# The account that Azurite serves when it is told nothing, with the key that its documentation prints.
PUBLISHED = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)
CONNECTIONS = 16


def install():
    debian({"npm": "npm", "node": "nodejs"})
    home = TARGET / f"azurite-{AZURITE}"
    if not launcher().exists():
        home.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--prefix", home, "--no-audit", "--no-fund", "--silent", f"azurite@{AZURITE}")


def launcher():
    return TARGET / f"azurite-{AZURITE}" / "node_modules" / ".bin" / "azurite-blob"


class Served:
    """A server that runs, with an account to write to."""

    def __init__(self, command, port, account, directory):
        self.directory, self.address, self.account = directory, f"http://127.0.0.1:{port}", account
        self.process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
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


def start_azurite(directory):
    port = free_port()
    options = ["--silent", "--disableTelemetry", "--location", directory, "--blobPort", port]
    # Its launcher, without the shell in between, so that the memory is the server's.
    command = ["node", Path(os.path.realpath(launcher())), *options, "--skipApiVersionCheck"]
    return Served(command, port, PUBLISHED, directory)


def start_atrest(directory, *protection):
    port, program = free_port(), ours()["atrest"]
    call = [program, "--vault-url=", "--quiet", "--dir", directory]
    run(*call, "init")
    run(*call, "blob", "create", "bench", *protection)
    keys = json.loads(run(program, "--vault-url=", "--json", "--dir", directory, "blob", "keys", "bench"))
    return Served([*call, "serve", "--plain-http", "--port", port], port, ("bench", keys["key1"]), directory)


def start_least(directory, *kept):
    """What bounds any server for this client on this machine: it checks no signature."""
    port = free_port()
    command = [ours()["storage"], "least", f"http://127.0.0.1:{port}", *kept]
    return Served(command, port, ("bench", PUBLISHED[1]), directory)


def one_server(start, directory, mib, objects):
    """One server from its start to its end: seconds of each job, and the peak of its memory in MiB."""
    served = start(tempfile.mkdtemp(dir=directory, prefix="atrest-peers-"))
    client, found = ours()["storage"], {}

    def job(name, number, connections=1):
        return float(run(client, name, served.address, *served.account, number, connections))

    try:
        job("container", 0)
        for name in ("put", "get", "blocks"):
            found[name] = job(name, mib)
        for name in ("small-put", "small-get"):
            found[name] = job(name, objects, CONNECTIONS)
        found["memory"] = served.peak()
    finally:
        served.stop()
    return found


def measure(asked):
    piece = Piece()
    mib = asked.mib or (16 if asked.quick else 1024)
    objects = 200 if asked.quick else 20_000
    rounds = asked.rounds or (1 if asked.quick else 3)
    subjects = [
        ("plain", lambda at: start_atrest(at, "--plain")),
        ("atrest", start_atrest),
        ("least", start_least),
        ("least, synced", lambda at: start_least(at, at)),
    ]
    if piece.has("Azurite", install):
        subjects.append(("Azurite", start_azurite))
    taken = {}
    for number in range(rounds):
        # What the answer of a put tells, and cannot be split.
        taken.setdefault(("MD5 alone", "put"), []).append(float(run(ours()["storage"], "md5", mib)))
        for name, start in turns(subjects, number):
            for job, value in one_server(start, asked.dir, mib, objects).items():
                taken.setdefault((name, job), []).append(value)
        print(f"blob: round {number + 1} of {rounds}", file=sys.stderr)
    median = medians(taken)
    works = {
        "put": f"put, {mib} MiB",
        "get": f"get, {mib} MiB",
        "blocks": f"put in blocks of 8 MiB, {mib} MiB",
        "small-put": f"puts of 64 KiB, {objects:,}",
        "small-get": f"gets of 64 KiB, {objects:,}",
        "memory": "peak of the server's memory",
    }
    for job, work in works.items():
        base = median["plain", job]
        text = f"{base:.0f} MiB" if job == "memory" else f"{base:.2f} s"
        names = [name for name, _ in subjects[1:]] + ["MD5 alone"]
        ratios = {name: median[name, job] / base for name in names if (name, job) in median}
        piece.rows.append(Row(f"blob service: {work}", text, ratios))
    piece.notes.append(
        f"blob service: {rounds} rounds; small objects over {CONNECTIONS} connections. Azurite {AZURITE}, which encrypts nothing"
    )
    return piece
