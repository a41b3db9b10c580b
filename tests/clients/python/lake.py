"""adlfs, the file system that pandas, Dask and DuckDB reach Azure's blobs through, unmodified, through the proxy.

Run by tests/clients/main.rs under `atrest with`.
"""

import os

import adlfs

fs = adlfs.AzureBlobFileSystem(connection_string=os.environ["AZURE_STORAGE_CONNECTION_STRING"])


def files():
    fs.mkdir("lake")
    data = os.urandom(3_000_000)
    with fs.open("lake/a/b.bin", "wb") as f:
        f.write(data)
    assert fs.cat("lake/a/b.bin") == data
    assert fs.find("lake") == ["lake/a/b.bin"] and fs.ls("lake") == ["lake/a"]
    with fs.open("lake/a/b.bin", "rb") as f:
        f.seek(1_000_000)
        assert f.read(10) == data[1_000_000:1_000_010]
    fs.rm("lake/a/b.bin")
    assert not fs.exists("lake/a/b.bin")


def appended_and_moved():
    fs.mkdir("moving")
    with fs.open("moving/log.txt", "ab") as f:
        f.write(b"one")
    with fs.open("moving/log.txt", "ab") as f:
        f.write(b"two")
    assert fs.cat("moving/log.txt") == b"onetwo"
    fs.copy("moving/log.txt", "moving/copied.txt")
    fs.mv("moving/copied.txt", "moving/moved/here.txt")
    assert fs.cat("moving/moved/here.txt") == b"onetwo"
    assert fs.find("moving") == ["moving/log.txt", "moving/moved/here.txt"], fs.find("moving")
    for n in range(30):
        fs.pipe(f"moving/many/{n}", b"x")
    assert len(fs.find("moving/many")) == 30
    fs.rm("moving/many", recursive=True)
    fs.invalidate_cache()
    assert fs.find("moving") == ["moving/log.txt", "moving/moved/here.txt"], fs.find("moving")
    fs.rm("moving", recursive=True)
    assert not fs.exists("moving")

for step in (files, appended_and_moved):
    step()
    print(step.__name__, "ok")
