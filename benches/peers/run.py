#!/usr/bin/env python3
"""What encryption costs, beside other programs that encrypt: databases (SQLCipher, SQLite3 Multiple Ciphers), files (age,
rage, gocryptfs, openssl enc) and a blob service (Azurite, which does not encrypt). One table at the end, of medians: what each kind
of work takes without encryption, and the ratios of the others to that.

    benches/peers/run.py                     everything, at a size that means something: half an hour
    benches/peers/run.py --quick             whether it works, not how fast things are: a minute or two, and the time to compile
    benches/peers/run.py files blob --dir /var/tmp     two pieces, on that disk

It installs what it needs from package registries (README.md says what), and builds in target/. A peer that cannot be
installed is left out by name; with --strict that is a failure, unless this machine cannot have it.
"""

import argparse
import datetime
import importlib
import sys
import tempfile

from common import Failed, NotHere, load, machine

PIECES = ["sql", "files", "blob"]


def table(rows):
    lines = ["| work | plain | atrest | others |", "|---|---:|---:|---|"]
    for row in rows:
        own = row.ratios.pop("atrest")
        others = ", ".join(f"{name} {ratio:.2f}" for name, ratio in row.ratios.items())
        lines.append(f"| {row.work} | {row.plain} | {own:.2f} | {others} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=f"only these of: {', '.join(PIECES)}")
    parser.add_argument("--quick", action="store_true", help="small files and few rounds; rage only if it is there")
    parser.add_argument("--strict", action="store_true", help="fail when a peer could not be installed")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="whose disk is measured")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rows", type=int, help="of the table, 100 bytes each")
    parser.add_argument("--only", metavar="WORK", help="one kind of work on databases")
    parser.add_argument("--mib", type=int, help="of a file, and of a large blob")
    asked = parser.parse_args()
    unknown = set(asked.pieces) - set(PIECES)
    if unknown:
        parser.error(f"no piece {', '.join(unknown)}")
    before = load()
    try:
        wanted = [name for name in PIECES if name in (asked.pieces or PIECES)]
        pieces = [importlib.import_module(name).measure(asked) for name in wanted]
    except Failed as why:
        sys.exit(str(why))
    print(f"{datetime.date.today()}; `{' '.join(sys.argv)}`")
    print(f"{machine(asked.dir)}; load {before} before, {load()} after\n")
    print(table([row for piece in pieces for row in piece.rows]), "\n")
    for piece in pieces:
        print("\n".join(f"- {note}" for note in piece.notes))
    left_out = {peer: why for piece in pieces for peer, why in piece.left_out.items()}
    for peer, why in left_out.items():
        print(f"- not measured: {peer} ({str(why).splitlines()[0]})")
    if asked.strict and not all(isinstance(why, NotHere) for why in left_out.values()):
        sys.exit("a peer is missing that could be here")


main()
