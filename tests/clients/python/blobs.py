"""Azure's own client library for blobs, unmodified and with its checks on, through the proxy.

Run by tests/clients/main.rs under `atrest with`. Fails with a traceback at the first thing that is not as
Azure has it.
"""

import base64
import hashlib
import os
from datetime import datetime, timedelta, timezone

from azure.core import MatchConditions
from azure.keyvault.keys import KeyClient
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerEncryptionScope,
    ContainerSasPermissions,
    ContentSettings,
    CustomerProvidedEncryptionKey,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

from account import CONNECTION, KEY, URL, credential, in_an_hour, refused, service

MIB = 1 << 20


def containers():
    made = service.create_container("reports", metadata={"team": "payroll"})
    refused(409, "ContainerAlreadyExists", lambda: service.create_container("reports"))
    found = made.get_container_properties()
    assert (found.name, found.metadata, found.lease.state) == ("reports", {"team": "payroll"}, "available")
    names = [c.name for c in service.list_containers(name_starts_with="rep", include_metadata=True)]
    assert names == ["reports"], names
    pages = service.list_containers(results_per_page=1).by_page()
    assert [[c.name for c in page] for page in pages] == [["default"], ["reports"]]
    made.set_container_metadata({"team": "sales"})
    assert made.get_container_properties().metadata == {"team": "sales"}
    refused(404, "ContainerNotFound", lambda: service.get_container_client("missing").get_container_properties())
    assert service.get_account_information()["account_kind"] == "StorageV2"


def put_and_get():
    container = service.get_container_client("reports")
    data = os.urandom(300_000)
    blob = container.get_blob_client("2026/July #1 ü.pdf")
    done = blob.upload_blob(
        data,
        metadata={"author": "Rosalind"},
        tags={"project": "x 1"},
        content_settings=ContentSettings(content_type="application/pdf", content_language="de", cache_control="no-cache"),
    )
    assert done["request_server_encrypted"] is True
    assert blob.download_blob().readall() == data
    assert blob.download_blob(offset=65_530, length=20).readall() == data[65_530:65_550]
    assert blob.download_blob(validate_content=True, offset=0, length=70_000).readall() == data[:70_000]
    found = blob.get_blob_properties()
    assert (found.size, found.metadata, found.etag) == (300_000, {"author": "Rosalind"}, done["etag"])
    assert found.server_encrypted is True and found.tag_count == 1
    settings = found.content_settings
    assert settings.content_type == "application/pdf" and settings.content_language == "de"
    assert bytes(settings.content_md5) == hashlib.md5(data).digest()
    refused(409, "BlobAlreadyExists", lambda: blob.upload_blob(b"x"))
    refused(404, "BlobNotFound", lambda: container.get_blob_client("missing").download_blob())
    refused(400, "Md5Mismatch", lambda: blob.upload_blob(
        b"x", overwrite=True, content_settings=ContentSettings(content_md5=bytearray(16))))
    empty = container.upload_blob("empty", b"")
    assert empty.download_blob().readall() == b""
    blob.upload_blob(b"other", overwrite=True, validate_content=True)
    assert blob.download_blob().readall() == b"other"


def blocks():
    blob = service.get_blob_client("reports", "blocks")
    parts = [os.urandom(n) for n in (5, 70_000, 3)]
    for at in (2, 0, 1):
        blob.stage_block(f"block-{at}", parts[at])
    committed, waiting = blob.get_block_list("all")
    assert committed == [] and [b.size for b in waiting] == [5, 70_000, 3]
    refused(404, "BlobNotFound", lambda: blob.download_blob())
    blob.commit_block_list([BlobBlock(f"block-{at}") for at in (1, 2, 0)], metadata={"k": "v"})
    assert blob.download_blob().readall() == parts[1] + parts[2] + parts[0]
    refused(400, "InvalidBlockList", lambda: blob.commit_block_list([BlobBlock("block-9")]))
    committed, waiting = blob.get_block_list("all")
    assert len(committed) == 3 and waiting == []


def large():
    """More than is put at once, in blocks, several at a time; and read back in ranges."""
    small_steps = BlobServiceClient.from_connection_string(
        CONNECTION, max_single_put_size=MIB, max_block_size=MIB, max_single_get_size=MIB, max_chunk_get_size=MIB)
    blob = small_steps.get_blob_client("reports", "large")
    data = os.urandom(9 * MIB + 7)
    blob.upload_blob(data, max_concurrency=4)
    assert blob.download_blob(max_concurrency=4).readall() == data
    blob.upload_blob(iter([data[:MIB], data[MIB:]]), overwrite=True)
    assert blob.download_blob().readall() == data
    service.get_blob_client("reports", "single").upload_blob(data)
    assert service.get_blob_client("reports", "single").download_blob().readall() == data


def lists():
    container = service.create_container("tree")
    for name in ("a/1", "a/2", "a<&>", "b", "c/d/e"):
        container.upload_blob(name, name.encode(), metadata={"length": str(len(name))})
    assert [b.name for b in container.list_blobs()] == ["a/1", "a/2", "a<&>", "b", "c/d/e"]
    assert [b.name for b in container.list_blobs(name_starts_with="a/")] == ["a/1", "a/2"]
    assert sorted(b.name for b in container.walk_blobs()) == ["a/", "a<&>", "b", "c/"]
    pages = container.list_blobs(results_per_page=2, include=["metadata", "tags"]).by_page()
    pages = [[(b.name, b.metadata["length"]) for b in page] for page in pages]
    assert pages == [[("a/1", "3"), ("a/2", "3")], [("a<&>", "4"), ("b", "1")], [("c/d/e", "5")]], pages
    service.delete_container("tree")
    refused(404, "ContainerNotFound", lambda: list(container.list_blobs()))


def conditions():
    blob = service.get_blob_client("reports", "conditions")
    first = blob.upload_blob(b"1")["etag"]
    second = blob.upload_blob(b"2", etag=first, match_condition=MatchConditions.IfNotModified, overwrite=True)["etag"]
    refused(412, "ConditionNotMet", lambda: blob.upload_blob(
        b"3", etag=first, match_condition=MatchConditions.IfNotModified, overwrite=True))
    refused(304, "ConditionNotMet", lambda: blob.download_blob(
        etag=second, match_condition=MatchConditions.IfModified))
    refused(412, "ConditionNotMet", lambda: blob.delete_blob(
        if_unmodified_since=datetime.now(timezone.utc) - timedelta(days=1)))
    assert blob.download_blob().readall() == b"2"


def properties_and_tags():
    blob = service.get_blob_client("reports", "said")
    blob.upload_blob(b"x", content_settings=ContentSettings(content_type="a/b"))
    blob.set_blob_metadata({"colour": "red"})
    blob.set_http_headers(ContentSettings(content_type="text/html"))
    blob.set_blob_tags({"year": "2026", "state": "open"})
    assert blob.get_blob_tags() == {"year": "2026", "state": "open"}
    found = blob.get_blob_properties()
    assert (found.metadata, found.content_settings.content_type) == ({"colour": "red"}, "text/html")
    blob.delete_blob()
    refused(404, "BlobNotFound", blob.get_blob_properties)


def tokens():
    own = BlobServiceClient(URL, credential)
    own.get_blob_client("reports", "by-token").upload_blob(b"token")
    assert own.get_blob_client("reports", "by-token").download_blob().readall() == b"token"


def signatures():
    service.get_blob_client("reports", "shared").upload_blob(b"shared")

    def blob_with(permission, name="shared", key=KEY, expiry=None, **more):
        sas = generate_blob_sas("documents", "reports", "shared", account_key=key,
                                permission=permission, expiry=expiry or in_an_hour(), **more)
        return BlobClient(URL, "reports", name, credential=sas)

    reads = BlobSasPermissions(read=True)
    assert blob_with(reads).download_blob().readall() == b"shared"
    assert blob_with(reads, content_type="x/y").get_blob_properties().content_settings.content_type == "x/y"
    container = ContainerClient(URL, "reports", credential=generate_container_sas(
        "documents", "reports", account_key=KEY, permission=ContainerSasPermissions(list=True, create=True), expiry=in_an_hour()))
    assert "shared" in [b.name for b in container.list_blobs()]
    container.upload_blob("created", b"new", overwrite=False)
    account = BlobServiceClient(URL, credential=generate_account_sas(
        "documents", KEY, ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, list=True), in_an_hour()))
    assert "reports" in [c.name for c in account.list_containers()]

    long_ago = datetime.now(timezone.utc) - timedelta(minutes=1)
    another = "A" * 86 + "=="
    refused(403, "AuthenticationFailed", blob_with(reads, expiry=long_ago).get_blob_properties)
    refused(403, "AuthenticationFailed", blob_with(reads, key=another).get_blob_properties)
    refused(403, "AuthenticationFailed", blob_with(reads, start=in_an_hour(), expiry=in_an_hour()).get_blob_properties)
    refused(403, "AuthenticationFailed", blob_with(reads, name="created").get_blob_properties)
    refused(403, "AuthorizationPermissionMismatch", blob_with(reads).delete_blob)
    refused(403, "AuthorizationSourceIPMismatch", blob_with(reads, ip="203.0.113.7").get_blob_properties)
    refused(403, "AuthorizationPermissionMismatch", lambda: container.upload_blob("created", b"x", overwrite=True))
    refused(403, "AuthorizationPermissionMismatch", lambda: account.create_container("no-right"))
    refused(403, "AuthorizationResourceTypeMismatch", lambda: BlobServiceClient(
        URL, credential=generate_account_sas("documents", KEY, ResourceTypes(object=True),
                                             AccountSasPermissions(list=True), in_an_hour())).get_service_properties())
    refused(403, "AuthenticationFailed", lambda: BlobServiceClient(
        URL, credential={"account_name": "documents", "account_key": another}).create_container("never"))
    refused(401, "NoAuthenticationInformation", lambda: BlobServiceClient(URL).create_container("never"))


def keys_of_the_client():
    """A key that comes with each request (CPK): needed for what it seals, of no use for anything else."""
    def key(fill):
        raw = bytes([fill]) * 32
        return CustomerProvidedEncryptionKey(
            base64.b64encode(raw).decode(), base64.b64encode(hashlib.sha256(raw).digest()).decode())
    mine, other = key(1), key(2)
    container = service.get_container_client("reports")
    blob, twin = container.get_blob_client("given"), container.get_blob_client("not given")
    data = os.urandom(200_000)
    done = blob.upload_blob(data, cpk=mine, metadata={"author": "Rosalind"})
    assert done["encryption_key_sha256"] == mine.key_hash and done["request_server_encrypted"] is True
    twin.upload_blob(data)
    assert blob.download_blob(cpk=mine).readall() == data
    found = blob.get_blob_properties(cpk=mine)
    assert (found.encryption_key_sha256, found.metadata) == (mine.key_hash, {"author": "Rosalind"})
    refused(409, "BlobUsesCustomerSpecifiedEncryption", blob.download_blob)
    refused(409, "BlobUsesCustomerSpecifiedEncryption", blob.get_blob_properties)
    refused(409, "BlobCustomerSpecifiedEncryptionMismatch", lambda: blob.download_blob(cpk=other))
    refused(409, "BlobDoesNotUseCustomerSpecifiedEncryption", lambda: twin.download_blob(cpk=mine))
    blob.set_blob_metadata({"author": "Franklin"}, cpk=mine)
    for at in range(2):
        blob.stage_block(f"block-{at}", data[at * 100_000:][:100_000], cpk=mine)
    blocks = [BlobBlock(f"block-{at}") for at in range(2)]
    refused(409, "BlobCustomerSpecifiedEncryptionMismatch", lambda: blob.commit_block_list(blocks, cpk=other))
    blob.commit_block_list(blocks, cpk=mine)
    assert blob.download_blob(cpk=mine).readall() == data
    assert [b.size for b in blob.get_block_list()[0]] == [100_000, 100_000]
    listed = {b.name: b for b in container.list_blobs(include=["metadata"])}
    assert not listed["given"].metadata and listed["given"].encrypted_metadata == "true"
    bad = CustomerProvidedEncryptionKey(mine.key_value, other.key_hash)
    refused(400, "InvalidHeaderValue", lambda: blob.upload_blob(b"x", overwrite=True, cpk=bad))


def scopes():
    """Encryption scopes: `payroll` was made by the command line."""
    scope = ContainerEncryptionScope(default_encryption_scope="payroll", prevent_encryption_scope_override=True)
    strict = service.create_container("strict", container_encryption_scope=scope)
    found = strict.get_container_properties().encryption_scope
    assert (found.default_encryption_scope, found.prevent_encryption_scope_override) == ("payroll", True)
    strict.upload_blob("a", b"data")
    assert strict.get_blob_client("a").get_blob_properties().encryption_scope == "payroll"
    blob = service.get_blob_client("reports", "scoped")
    data = os.urandom(200_000)
    done = blob.upload_blob(data, encryption_scope="payroll")
    assert done["encryption_scope"] == "payroll"
    assert blob.download_blob().readall() == data
    blob.set_blob_metadata({"a": "b"}, encryption_scope="payroll")
    blob.stage_block("1", data, encryption_scope="payroll")
    refused(409, "BlobCustomerSpecifiedEncryptionMismatch", lambda: blob.commit_block_list([BlobBlock("1")]))
    blob.commit_block_list([BlobBlock("1")], encryption_scope="payroll")
    listed = {b.name: b.encryption_scope for b in service.get_container_client("reports").list_blobs()}
    assert listed["scoped"] == "payroll" and listed["given"] is None
    listed = {c.name: c.encryption_scope.default_encryption_scope for c in service.list_containers()}
    assert (listed["strict"], listed["reports"]) == ("payroll", "$account-encryption-key")
    sas = generate_blob_sas(
        service.account_name, "reports", "by signature", account_key=KEY, expiry=in_an_hour(),
        permission=BlobSasPermissions(read=True, write=True, create=True), encryption_scope="payroll")
    signed = BlobClient.from_blob_url(f"{URL}/reports/by%20signature?{sas}")
    assert signed.upload_blob(b"data")["encryption_scope"] == "payroll"
    assert signed.download_blob().readall() == b"data"
    refused(400, "InvalidHeaderValue",
            lambda: signed.upload_blob(b"x", overwrite=True, encryption_scope="open"))


def not_there():
    """What would change the meaning of a request is refused, and never passed over."""
    blob = service.get_blob_client("reports", "shared")


def the_customers_key():
    """What needs the customer's key ends when it is disabled, and comes back with it."""
    keys = KeyClient("https://customer.vault.azure.net", credential)
    blob = service.get_blob_client("reports", "sealed")
    blob.upload_blob(b"sealed", metadata={"secret": "yes"})
    container = service.get_container_client("reports")
    keys.update_key_properties("customer-key", enabled=False)
    gone = (403, "KeyVaultEncryptionKeyNotFound")
    refused(*gone, blob.download_blob)
    refused(*gone, blob.get_blob_properties)
    refused(*gone, lambda: blob.set_blob_metadata({}))
    refused(*gone, lambda: blob.upload_blob(b"x", overwrite=True))
    refused(*gone, lambda: blob.stage_block("1", b"x"))
    refused(*gone, lambda: list(container.list_blobs(include=["metadata"])))
    assert "sealed" in [b.name for b in container.list_blobs()]
    assert container.get_container_properties().metadata == {"team": "sales"}
    blob.set_blob_tags({"still": "possible"})
    blob.set_http_headers(ContentSettings(content_type="text/plain"))
    service.get_blob_client("reports", "blocks").delete_blob()
    keys.update_key_properties("customer-key", enabled=True)
    assert blob.download_blob().readall() == b"sealed"
    found = blob.get_blob_properties()
    assert (found.metadata, found.content_settings.content_type) == ({"secret": "yes"}, "text/plain")


for step in (containers, put_and_get, blocks, large, lists, conditions, properties_and_tags, tokens, signatures,
             keys_of_the_client, scopes, not_there, the_customers_key):
    step()
    print(step.__name__, "ok", flush=True)
