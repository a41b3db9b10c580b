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


files()
print("files ok")
