"""Azure's own client library for blobs: snapshots, copies and what else goes beyond putting and getting.

Run by tests/clients/main.rs under `atrest with`. Fails with a traceback at the first thing that is not as
Azure has it.
"""

import copy
import hashlib
import os
from datetime import datetime, timedelta, timezone

from azure.core import MatchConditions
from azure.keyvault.keys import KeyClient
from azure.storage.blob import (
    AccessPolicy,
    BlobAnalyticsLogging,
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    CorsRule,
    RetentionPolicy,
    StandardBlobTier,
    generate_blob_sas,
    generate_container_sas,
)

from account import KEY, URL, credential, in_an_hour, refused, service

container = service.create_container("work")


def signed(name, permission=BlobSasPermissions(read=True), **more):
    sas = generate_blob_sas("documents", "work", name, account_key=KEY, permission=permission, expiry=in_an_hour(), **more)
    return f"{URL}/work/{name}?{sas}"


def snapshots():
    blob = container.get_blob_client("dated")
    blob.upload_blob(b"first", metadata={"state": "one"}, tags={"t": "1"})
    first = blob.create_snapshot()["snapshot"]
    second = blob.create_snapshot(metadata={"own": "yes"})["snapshot"]
    assert second > first
    blob.upload_blob(b"second!", overwrite=True)
    old = container.get_blob_client("dated", snapshot=first)
    assert old.download_blob().readall() == b"first"
    assert old.download_blob(offset=1, length=3).readall() == b"irs"
    found = old.get_blob_properties()
    assert (found.size, found.metadata) == (5, {"state": "one"})
    assert container.get_blob_client("dated", snapshot=second).get_blob_properties().metadata == {"own": "yes"}
    listed = [(b.name, b.snapshot, b.size) for b in container.list_blobs(include=["snapshots"])]
    assert listed == [("dated", first, 5), ("dated", second, 5), ("dated", None, 7)], listed
    pages = container.list_blobs(include=["snapshots"], results_per_page=1).by_page()
    assert [[b.snapshot for b in page] for page in pages] == [[first], [second], [None]]
    assert [b.snapshot for b in container.list_blobs()] == [None]
    sas = generate_blob_sas("documents", "work", "dated", snapshot=first, account_key=KEY,
                            permission=BlobSasPermissions(read=True), expiry=in_an_hour())
    assert BlobClient(URL, "work", "dated", snapshot=first, credential=sas).download_blob().readall() == b"first"
    refused(403, "AuthenticationFailed", BlobClient(URL, "work", "dated", snapshot=second, credential=sas).download_blob)
    sas = generate_container_sas("documents", "work", account_key=KEY, expiry=in_an_hour(),
                                 permission=ContainerSasPermissions(read=True))
    assert BlobClient(URL, "work", "dated", snapshot=second, credential=sas).download_blob().readall() == b"first"
    sas = generate_blob_sas("documents", "work", "dated", account_key=KEY, expiry=in_an_hour(),
                            permission=BlobSasPermissions(read=True))
    refused(403, "AuthenticationFailed", BlobClient(URL, "work", "dated", snapshot=first, credential=sas).download_blob)
    refused(409, "SnapshotsPresent", blob.delete_blob)
    refused(404, "BlobNotFound", container.get_blob_client("dated", snapshot="2020-01-01T00:00:00.0000000Z").download_blob)
    refused(404, "BlobNotFound", container.get_blob_client("none").create_snapshot)
    refused(412, "ConditionNotMet", lambda: blob.create_snapshot(etag="0x1", match_condition=MatchConditions.IfNotModified))
    old.delete_blob()
    refused(404, "BlobNotFound", old.get_blob_properties)
    blob.delete_blob(delete_snapshots="only")
    assert [b.snapshot for b in container.list_blobs()] == [None]
    blob.create_snapshot()
    blob.delete_blob(delete_snapshots="include")
    assert list(container.list_blobs(include=["snapshots"])) == []


def copies():
    source = container.get_blob_client("source")
    source.upload_blob(b"content", metadata={"k": "v"}, tags={"t": "1"}, content_settings=ContentSettings(content_type="a/b"))
    copy = container.get_blob_client("copy ü 1")
    done = copy.start_copy_from_url(source.url)
    assert done["copy_status"] == "success" and done["copy_id"]
    found = copy.get_blob_properties()
    assert (found.metadata, found.content_settings.content_type) == ({"k": "v"}, "a/b")
    assert (found.copy.id, found.copy.status, found.copy.progress) == (done["copy_id"], "success", "7/7")
    assert found.copy.source == source.url
    copy.start_copy_from_url(source.url, metadata={"own": "1"})
    assert copy.get_blob_properties().metadata == {"own": "1"}
    refused(409, "NoPendingCopyOperation", lambda: copy.abort_copy(done["copy_id"]))
    assert copy.start_copy_from_url(signed("source"), requires_sync=True, tags={"x": "y"})["copy_status"] == "success"
    assert copy.get_blob_tags() == {"x": "y"}
    copy.start_copy_from_url(signed("source", BlobSasPermissions(read=True, tag=True)), requires_sync=True, tags="COPY")
    assert copy.get_blob_tags() == {"t": "1"}
    source.delete_blob()
    assert copy.download_blob().readall() == b"content"
    # A snapshot is promoted by copying it.
    taken = copy.create_snapshot()
    copy.upload_blob(b"spoilt", overwrite=True)
    copy.start_copy_from_url(f"{copy.url}?snapshot={taken['snapshot']}")
    assert copy.download_blob().readall() == b"content"
    # Blocks come along.
    blocks = container.get_blob_client("blocks")
    for at in range(3):
        blocks.stage_block(f"{at}", os.urandom(10))
    blocks.commit_block_list([BlobBlock(f"{at}") for at in range(3)])
    copy.delete_blob(delete_snapshots="include")
    copy.start_copy_from_url(blocks.url)
    assert [b.size for b in copy.get_block_list()[0]] == [10, 10, 10]
    assert copy.download_blob().readall() == blocks.download_blob().readall()
    refused(404, "CannotVerifyCopySource", lambda: copy.start_copy_from_url(f"{URL}/work/missing"))
    refused(412, "SourceConditionNotMet", lambda: copy.start_copy_from_url(
        blocks.url, source_etag="0x1", source_match_condition=MatchConditions.IfNotModified))
    refused(412, "ConditionNotMet", lambda: copy.start_copy_from_url(
        blocks.url, etag="0x1", match_condition=MatchConditions.IfNotModified))
    refused(400, "CannotVerifyCopySource", lambda: copy.start_copy_from_url("https://example.org/x"))
    # Another account: only with a right of its own.
    other = "https://archive.blob.core.windows.net/default/kept"
    refused(401, "CannotVerifyCopySource", lambda: copy.start_copy_from_url(other))
    token = credential.get_token("https://storage.azure.com/.default").token
    BlobClient("https://archive.blob.core.windows.net", "default", "kept", credential=credential).upload_blob(b"elsewhere")
    copy.start_copy_from_url(other, requires_sync=True, source_authorization=f"Bearer {token}")
    assert copy.download_blob().readall() == b"elsewhere"
    own = BlobServiceClient(URL, credential).get_blob_client("work", "by-token")
    # The request's own token counts in its own account only.
    refused(401, "CannotVerifyCopySource", lambda: own.start_copy_from_url(other))
    own.start_copy_from_url(blocks.url)
    assert own.download_blob().readall() == blocks.download_blob().readall()


def from_urls():
    data = os.urandom(100_000)
    container.get_blob_client("origin").upload_blob(data, metadata={"k": "v"}, content_settings=ContentSettings(content_type="a/b"))
    url = signed("origin")
    blob = container.get_blob_client("from-url")
    blob.upload_blob_from_url(url, tags={"a": "b"})
    assert blob.download_blob().readall() == data
    found = blob.get_blob_properties()
    assert found.content_settings.content_type == "a/b" and found.copy.id is None
    assert bytes(found.content_settings.content_md5) == hashlib.md5(data).digest()
    blob.upload_blob_from_url(url, overwrite=True, include_source_blob_properties=False)
    assert blob.get_blob_properties().content_settings.content_type == "application/octet-stream"
    refused(409, "BlobAlreadyExists", lambda: blob.upload_blob_from_url(url, overwrite=False))
    refused(400, "Md5Mismatch", lambda: blob.upload_blob_from_url(url, overwrite=True, source_content_md5=hashlib.md5(b"x").digest()))
    blob.upload_blob_from_url(url, overwrite=True, source_content_md5=hashlib.md5(data).digest())
    refused(403, "CannotVerifyCopySource", lambda: blob.upload_blob_from_url(
        signed("origin", BlobSasPermissions(write=True)), overwrite=True))
    blob.stage_block_from_url("1", url, source_offset=10, source_length=70_000)
    blob.stage_block_from_url("2", url, source_offset=0, source_length=10, source_content_md5=hashlib.md5(data[:10]).digest())
    refused(400, "Md5Mismatch", lambda: blob.stage_block_from_url(
        "3", url, source_offset=0, source_length=10, source_content_md5=hashlib.md5(b"x").digest()))
    refused(416, "InvalidRange", lambda: blob.stage_block_from_url("3", url, source_offset=200_000, source_length=10))
    blob.commit_block_list([BlobBlock("1"), BlobBlock("2")])
    assert blob.download_blob().readall() == data[10:70_010] + data[:10]


def append_blobs():
    blob = container.get_blob_client("log")
    blob.create_append_blob(metadata={"k": "v"}, content_settings=ContentSettings(content_type="text/plain"))
    first = blob.append_block(b"one\n", validate_content=True)
    assert (first["blob_append_offset"], first["blob_committed_block_count"]) == ("0", 1)
    second = blob.append_block(b"two\n", appendpos_condition=4, maxsize_condition=8)
    assert (second["blob_append_offset"], second["blob_committed_block_count"]) == ("4", 2)
    refused(412, "AppendPositionConditionNotMet", lambda: blob.append_block(b"x", appendpos_condition=4))
    refused(412, "MaxBlobSizeConditionNotMet", lambda: blob.append_block(b"x", maxsize_condition=8))
    refused(412, "ConditionNotMet", lambda: blob.append_block(b"x", etag=first["etag"], match_condition=MatchConditions.IfNotModified))
    blob.append_block_from_url(blob.url + "?" + signed("log").split("?", 1)[1], source_offset=0, source_length=4)
    assert blob.download_blob().readall() == b"one\ntwo\none\n"
    found = blob.get_blob_properties()
    assert (found.blob_type, found.append_blob_committed_block_count, found.metadata) == ("AppendBlob", 3, {"k": "v"})
    blob.upload_blob(b"whole" * 1000, blob_type="AppendBlob", overwrite=True)
    blob.upload_blob(b"more", blob_type="AppendBlob")
    assert blob.download_blob().readall() == b"whole" * 1000 + b"more"
    refused(409, "InvalidBlobType", lambda: blob.stage_block("1", b"x"))
    block = container.get_blob_client("no-log")
    block.upload_blob(b"x")
    refused(409, "InvalidBlobType", lambda: block.append_block(b"x"))
    refused(404, "BlobNotFound", lambda: container.get_blob_client("none").append_block(b"x"))
    blob.seal_append_blob()
    assert blob.get_blob_properties()["is_append_blob_sealed"] is True
    refused(409, "BlobIsSealed", lambda: blob.append_block(b"x"))
    copy = container.get_blob_client("log-copy")
    copy.start_copy_from_url(blob.url)
    copy.append_block(b"!")
    assert copy.download_blob().readall() == b"whole" * 1000 + b"more!"
    kinds = {b.name: b.blob_type for b in container.list_blobs()}
    assert (kinds["log"], kinds["no-log"]) == ("AppendBlob", "BlockBlob")
    refused(409, "FeatureNotSupportedForAccount", lambda: container.get_blob_client("p").create_page_blob(512))


def leases():
    blob = container.get_blob_client("leased")
    blob.upload_blob(b"1")
    lease = blob.acquire_lease(lease_duration=15)
    found = blob.get_blob_properties().lease
    assert (found.state, found.status, found.duration) == ("leased", "locked", "fixed")
    listed = next(b for b in container.list_blobs(name_starts_with="leased"))
    assert (listed.lease.state, listed.lease.status) == ("leased", "locked")
    assert blob.download_blob().readall() == b"1"
    other = "11111111-2222-3333-4444-555555555555"
    for write in (
        lambda **k: blob.upload_blob(b"2", overwrite=True, **k),
        lambda **k: blob.stage_block("1", b"x", **k),
        lambda **k: blob.commit_block_list([], **k),
        lambda **k: blob.set_blob_metadata({"a": "b"}, **k),
        lambda **k: blob.set_http_headers(ContentSettings(content_type="a/b"), **k),
        lambda **k: blob.set_blob_tags({"a": "b"}, **k),
        lambda **k: blob.start_copy_from_url(container.get_blob_client("log").url, **{"destination_lease": k["lease"]} if k else {}),
    ):
        refused(412, "LeaseIdMissing", write)
        refused(412, "LeaseIdMismatchWithBlobOperation", lambda: write(lease=other))
        write(lease=lease)
    refused(412, "LeaseIdMissing", blob.delete_blob)
    refused(409, "LeaseAlreadyPresent", lambda: blob.acquire_lease(lease_id=other))
    lease.renew()
    lease.change(other)
    assert lease.id == other
    assert lease.break_lease(lease_break_period=5) == 5
    assert blob.get_blob_properties().lease.state == "breaking"
    refused(409, "LeaseIsBrokenAndCannotBeRenewed", lease.renew)
    refused(409, "LeaseAlreadyPresent", blob.acquire_lease)
    assert lease.break_lease(lease_break_period=0) == 0
    assert blob.get_blob_properties().lease.state == "broken"
    forever = blob.acquire_lease()
    assert blob.get_blob_properties().lease.duration == "infinite"
    forever.release()
    assert blob.get_blob_properties().lease.state == "available"
    refused(409, "LeaseNotPresentWithLeaseOperation", forever.break_lease)
    refused(412, "LeaseNotPresentWithBlobOperation", lambda: blob.delete_blob(lease=other))
    refused(400, "InvalidHeaderValue", lambda: blob.acquire_lease(lease_duration=5))
    whole = service.create_container("leased")
    lease = whole.acquire_lease()
    assert whole.get_container_properties().lease.state == "leased"
    refused(412, "LeaseIdMissing", whole.delete_container)
    refused(412, "LeaseIdMismatchWithContainerOperation", lambda: whole.delete_container(lease=other))
    whole.upload_blob("free", b"x")
    whole.delete_container(lease=lease)


def tiers():
    blob = container.get_blob_client("tiered")
    blob.upload_blob(b"x")
    found = blob.get_blob_properties()
    assert (found.blob_tier, found.blob_tier_inferred) == ("Hot", True)
    etag = found.etag
    blob.set_standard_blob_tier("Cool")
    found = blob.get_blob_properties()
    assert (found.blob_tier, found.etag) == ("Cool", etag) and found.blob_tier_change_time
    assert next(b for b in container.list_blobs(name_starts_with="tiered")).blob_tier == "Cool"
    blob.upload_blob(b"y", overwrite=True, standard_blob_tier=StandardBlobTier.COLD)
    assert blob.get_blob_properties().blob_tier == "Cold"
    refused(501, "NotImplemented", lambda: blob.set_standard_blob_tier("Archive"))
    refused(400, "InvalidHeaderValue", lambda: blob.set_standard_blob_tier("P10"))
    refused(409, "InvalidBlobType", lambda: container.get_blob_client("log").set_standard_blob_tier("Cool"))


def conditions_on_tags():
    blob = container.get_blob_client("tagged")
    blob.upload_blob(b"x", tags={"state": "open", "year": "2026"})
    is_open = "\"state\" = 'open' AND \"year\" >= '2026'"
    assert blob.download_blob(if_tags_match_condition=is_open).readall() == b"x"
    is_done = "\"state\" = 'done'"
    for call in (
        lambda c: blob.download_blob(if_tags_match_condition=c),
        lambda c: blob.get_blob_properties(if_tags_match_condition=c),
        lambda c: blob.upload_blob(b"y", overwrite=True, if_tags_match_condition=c),
        lambda c: blob.commit_block_list([], if_tags_match_condition=c),
        lambda c: blob.create_snapshot(if_tags_match_condition=c),
        lambda c: blob.set_blob_metadata({}, if_tags_match_condition=c),
        lambda c: blob.get_blob_tags(if_tags_match_condition=c),
        lambda c: blob.delete_blob(if_tags_match_condition=c),
    ):
        refused(412, "ConditionNotMet", lambda: call(is_done))
    refused(400, "InvalidHeaderValue", lambda: blob.get_blob_properties(if_tags_match_condition="state is open"))
    blob.delete_blob(if_tags_match_condition=is_open)


def policies():
    """A signature that names a policy of its container allows what that says, until it is changed."""
    whole = service.create_container("policied")
    whole.upload_blob("a", b"a")
    whole.set_container_access_policy({
        "readers": AccessPolicy(permission=ContainerSasPermissions(read=True, list=True), expiry=in_an_hour(),
                                start=datetime.now(timezone.utc) - timedelta(minutes=1)),
        "empty": AccessPolicy(),
    })
    found = whole.get_container_access_policy()["signed_identifiers"]
    assert sorted(p.id for p in found) == ["empty", "readers"]
    assert next(p for p in found if p.id == "readers").access_policy.permission == "rl"

    def client(policy, **more):
        sas = generate_container_sas("documents", "policied", account_key=KEY, policy_id=policy, **more)
        return ContainerClient(URL, "policied", credential=sas)

    assert client("readers").download_blob("a").readall() == b"a"
    refused(403, "AuthorizationPermissionMismatch", lambda: client("readers").upload_blob("b", b"b"))
    refused(403, "AuthenticationFailed", lambda: client("none").download_blob("a"))
    refused(403, "AuthenticationFailed", lambda: client("empty").download_blob("a"))
    # What the policy says is not said again.
    more = dict(permission=ContainerSasPermissions(write=True))
    refused(403, "AuthenticationFailed", lambda: client("readers", **more).upload_blob("b", b"b"))
    both = dict(permission=ContainerSasPermissions(read=True), expiry=in_an_hour())
    assert client("empty", **both).download_blob("a").readall() == b"a"
    whole.set_container_access_policy({})
    refused(403, "AuthenticationFailed", lambda: client("readers").download_blob("a"))
    refused(409, "PublicAccessNotPermitted", lambda: whole.set_container_access_policy({}, public_access="blob"))
    six = {f"p{n}": AccessPolicy(permission="r", expiry=in_an_hour()) for n in range(5)}
    whole.set_container_access_policy(six)


def delegations():
    """An identity signs in its own name, and no more than it may itself."""
    own = BlobServiceClient(URL, credential)
    now = datetime.now(timezone.utc)
    key = own.get_user_delegation_key(now - timedelta(minutes=1), now + timedelta(hours=1))
    own.get_blob_client("work", "delegated").upload_blob(b"x")

    def client(permission=BlobSasPermissions(read=True), key=key, name="delegated", **more):
        more.setdefault("expiry", in_an_hour())
        sas = generate_blob_sas("documents", "work", "delegated", user_delegation_key=key, permission=permission, **more)
        return BlobClient(URL, "work", name, credential=sas)

    assert client().download_blob().readall() == b"x"
    whole = generate_container_sas("documents", "work", user_delegation_key=key, expiry=in_an_hour(),
                                   permission=ContainerSasPermissions(list=True))
    assert "delegated" in [b.name for b in ContainerClient(URL, "work", credential=whole).list_blobs()]
    refused(403, "AuthorizationPermissionMismatch", client().delete_blob)
    refused(403, "AuthenticationFailed", client(name="log").download_blob)
    refused(403, "AuthenticationFailed", client(expiry=now - timedelta(seconds=30)).download_blob)
    forged = copy.copy(key)
    forged.signed_expiry = (now + timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:%SZ")
    refused(403, "AuthenticationFailed", client(key=forged).download_blob)
    other = copy.copy(key)
    other.value = "A" * 43 + "="
    refused(403, "AuthenticationFailed", client(key=other).download_blob)
    refused(403, "AuthenticationFailed", lambda: service.get_user_delegation_key(now, in_an_hour()))
    refused(400, "InvalidXmlNodeValue", lambda: own.get_user_delegation_key(now, now + timedelta(days=8)))


def batches():
    names = [f"batch-{n}" for n in range(5)]
    for name in names:
        container.upload_blob(name, b"x")
    done = list(container.set_standard_blob_tier_blobs("Cool", *names[:2]))
    assert [r.status_code for r in done] == [200, 200]
    assert container.get_blob_client(names[0]).get_blob_properties().blob_tier == "Cool"
    done = list(container.delete_blobs(*names[:3], "batch-none", raise_on_any_failure=False))
    assert [r.status_code for r in done] == [202, 202, 202, 404]
    assert [b.name for b in container.list_blobs(name_starts_with="batch")] == names[3:]
    own = BlobServiceClient(URL, credential).get_container_client("work")
    assert [r.status_code for r in own.delete_blobs(names[3])] == [202]
    sas = generate_container_sas("documents", "work", account_key=KEY, expiry=in_an_hour(),
                                 permission=ContainerSasPermissions(read=True))
    may_not = ContainerClient(URL, "work", credential=sas).delete_blobs(names[4], raise_on_any_failure=False)
    assert [r.status_code for r in may_not] == [403]
    assert [b.name for b in container.list_blobs(name_starts_with="batch")] == names[4:]


def found_by_tags():
    other = service.create_container("elsewhere")
    for name, tags in [("f1", {"kind": "a", "n": "1"}), ("f2", {"kind": "a", "n": "2"}), ("f3", {"kind": "b"})]:
        container.upload_blob(name, b"x", tags=tags)
    other.upload_blob("f4", b"x", tags={"kind": "a"})
    def found(where, of=service, **more):
        return [(b.container_name, b.name) for b in of.find_blobs_by_tags(where, **more)]
    assert found("\"kind\" = 'a'") == [("elsewhere", "f4"), ("work", "f1"), ("work", "f2")]
    assert found("@container = 'work' AND \"kind\" = 'a' AND \"n\" > '1'") == [("work", "f2")]
    assert found("\"kind\" = 'a'", container) == [("work", "f1"), ("work", "f2")]
    pages = service.find_blobs_by_tags("\"kind\" = 'a'", results_per_page=2).by_page()
    assert [[b.name for b in page] for page in pages] == [["f4", "f1"], ["f2"]]
    assert next(iter(service.find_blobs_by_tags("\"n\" = '2'"))).tags == {"kind": "a", "n": "2"}
    refused(400, "InvalidQueryParameterValue", lambda: found("kind is a"))


def service_properties():
    rule = CorsRule(["https://example.org"], ["GET", "PUT"], max_age_in_seconds=60, allowed_headers=["x-ms-meta-*"])
    service.set_service_properties(cors=[rule], target_version="2021-08-06")
    service.set_service_properties(analytics_logging=BlobAnalyticsLogging(read=True, retention_policy=RetentionPolicy(enabled=True, days=5)))
    found = service.get_service_properties()
    assert found["target_version"] == "2021-08-06" and found["analytics_logging"].read is True
    assert [c.allowed_origins for c in found["cors"]] == ["https://example.org"]
    refused(501, "NotImplemented", lambda: service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=5)))
    assert container.get_account_information()["sku_name"] == "Standard_LRS"


def refused_before_its_body_is_read():
    """The answer arrives, also when it is given before all was sent."""
    wrong = BlobServiceClient(URL, credential={"account_name": "documents", "account_key": "A" * 86 + "=="},
                              retry_total=0)
    refused(403, "AuthenticationFailed", lambda: wrong.get_blob_client("work", "never").upload_blob(b"x" * (30 << 20)))


def the_customers_key():
    """What needs the customer's key ends when it is disabled, and comes back with it."""
    keys = KeyClient("https://customer.vault.azure.net", credential)
    blob = container.get_blob_client("sealed")
    blob.upload_blob(b"sealed")
    taken = blob.create_snapshot()
    keys.update_key_properties("customer-key", enabled=False)
    gone = (403, "KeyVaultEncryptionKeyNotFound")
    refused(*gone, blob.create_snapshot)
    refused(*gone, container.get_blob_client("sealed", snapshot=taken["snapshot"]).download_blob)
    refused(*gone, lambda: container.get_blob_client("copied").start_copy_from_url(blob.url))
    assert len(list(container.list_blobs(name_starts_with="sealed", include=["snapshots"]))) == 2
    blob.delete_blob(delete_snapshots="include")
    keys.update_key_properties("customer-key", enabled=True)
    refused(404, "BlobNotFound", blob.download_blob)


for step in (snapshots, copies, from_urls, append_blobs, leases, tiers, conditions_on_tags,
             policies, delegations, batches, found_by_tags, service_properties, refused_before_its_body_is_read,
             the_customers_key):
    step()
    print(step.__name__, "ok", flush=True)
