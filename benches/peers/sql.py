"""Sealed databases beside plain SQLite, SQLCipher and SQLite3 Multiple Ciphers: the same workload, each round of each
subject in a process of its own, taking turns. Each ratio is to plain SQLite of the same build."""

import hashlib
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

from common import HERE, TARGET, Failed, Piece, Row, debian, medians, ours, run, turns

# Their C source comes with this package of the npm registry.
CIPHERS = ("better-sqlite3-multiple-ciphers", "13.0.3")
CIPHERS_SHA256 = "24a11e221247fc003f755ad0f82126bc6b0295d0be1c06f3cb3e48d9db8eb898"

# With what rusqlite compiles its SQLite, so that all builds are alike; and temporary files in memory, as in
# SQLCipher's build, since these ciphers do not seal them.
FLAGS = """
    -w -fPIC -DSQLITE_CORE -DSQLITE_DEFAULT_FOREIGN_KEYS=1 -DSQLITE_ENABLE_API_ARMOR
    -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_ENABLE_FTS3
    -DSQLITE_ENABLE_FTS3_PARENTHESIS -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_JSON1
    -DSQLITE_ENABLE_LOAD_EXTENSION=1 -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_STAT4 -DSQLITE_SOUNDEX
    -DSQLITE_THREADSAFE=1 -DSQLITE_USE_URI -DHAVE_USLEEP=1 -DHAVE_ISNAN -DHAVE_FDATASYNC=1
    -D_POSIX_THREAD_SAFE_FUNCTIONS -DHAVE_LOCALTIME_R -DSQLITE_TEMP_STORE=2
""".split()

OURS = {
    "atrest": "aws-lc-rs/not-kept",
    "fresh": "aws-lc-rs/kept",
    "aes-gcm": "aes-gcm/not-kept",
    "aes-gcm fresh": "aes-gcm/kept",
}
TOOLS = {"npm": "npm", "ar": "binutils", "/usr/include/openssl/crypto.h": "libssl-dev"}
CARGO = ["cargo", "build", "--locked", "--release", "--quiet"]


def place(quick):
    """Where things are compiled, and how much the compiler optimizes: little where only whether they work counts."""
    return (TARGET / "quick", 1) if quick else (TARGET, 3)


def sqlcipher(quick):
    """Its source is a part of rusqlite; it uses the system's OpenSSL."""
    target, level = place(quick)
    home = target / "sqlcipher"
    env = {"CARGO_TARGET_DIR": home, "CARGO_PROFILE_RELEASE_OPT_LEVEL": level}
    run(*CARGO, "--features", "sqlcipher", cwd=HERE, **env)
    return home / "release" / "peers"


def multiple_ciphers(quick):
    name, version = CIPHERS
    target, level = place(quick)
    home = target / f"{name}-{version}"
    source, library = home / "package" / "deps" / "sqlite3", home / "libsqlite3.a"
    if not library.exists():
        home.mkdir(parents=True, exist_ok=True)
        packed = home / run("npm", "pack", "--silent", f"{name}@{version}", cwd=home).split()[-1]
        if hashlib.sha256(packed.read_bytes()).hexdigest() != CIPHERS_SHA256:
            raise Failed(f"{packed} is not the package that was pinned")
        with tarfile.open(packed) as archive:
            archive.extractall(home, filter="data")
        run("cc", f"-O{level}", *FLAGS, "-c", source / "sqlite3.c", "-o", home / "sqlite3.o")
        run("ar", "rcs", "libsqlite3.a", "sqlite3.o", cwd=home)
    made = target / "ciphers"
    where = {"SQLITE3_LIB_DIR": home, "SQLITE3_INCLUDE_DIR": source, "SQLITE3_STATIC": 1}
    where |= {"CARGO_TARGET_DIR": made, "CARGO_PROFILE_RELEASE_OPT_LEVEL": level}
    run(*CARGO, cwd=HERE, **where)
    return made / "release" / "peers"


def subjects(piece, quick):
    """Name, command, and the name of the plain SQLite of the same build."""
    work = ours()["sql"]
    found = [("plain", [work, "plain"], "plain")]
    found += [(name, [work, subject], "plain") for name, subject in OURS.items()]
    peers = {
        "SQLCipher": (sqlcipher, {"SQLCipher": "sqlcipher"}),
        "SQLite3 Multiple Ciphers": (multiple_ciphers, {"ChaCha20 (MC)": "chacha20", "AEGIS (MC)": "aegis"}),
    }
    if not piece.has(" and ".join(peers), lambda: debian(TOOLS)):
        return found
    # Each compiles SQLite on one processor: a minute, or 20 seconds with --quick.
    with ThreadPoolExecutor() as pool:
        made = {peer: pool.submit(install, quick) for peer, (install, _) in peers.items()}
    for peer, (_, ciphers) in peers.items():
        if piece.has(peer, made[peer].result):
            plain, program = f"plain, with {peer}", made[peer].result()
            found.append((plain, [program, "plain"], plain))
            found += [(name, [program, cipher], plain) for name, cipher in ciphers.items()]
    return found


def measure(asked):
    piece = Piece()
    rows = asked.rows or (50_000 if asked.quick else 1_000_000)
    rounds = asked.rounds or (3 if asked.quick else 5)
    found = subjects(piece, asked.quick)
    taken, versions = {}, set()
    for number in range(rounds):
        for name, command, _ in turns(found, number):
            printed = run(*command, rows, *([asked.only] if asked.only else []), TMPDIR=asked.dir)
            lines = dict(line.split("\t") for line in printed.splitlines())
            versions.add(lines.pop("version"))
            for work, value in lines.items():
                taken.setdefault((name, work), []).append(float(value))
        print(f"sql: round {number + 1} of {rounds}", file=sys.stderr)
    median = medians(taken)
    for work in dict.fromkeys(work for _, work in median):
        base = median["plain", work]
        text = f"{base / 2**20:.1f} MiB" if work == "file size" else f"{base:.2f} s"
        ratios = {name: median[name, work] / median[plain, work] for name, _, plain in found if name != plain}
        piece.rows.append(Row(f"SQL: {work}", text, ratios))
    if asked.quick:
        piece.notes.append("SQL: --quick compiles the peers with -O1: their ratios show that they work, and nothing else")
    piece.notes.append(f"SQL: {rows:,} rows of 100 bytes, {rounds} rounds; fresh: with a freshness record; " + "; ".join(sorted(versions)))
    return piece
