// Azure's own client library for blobs under Node: snapshots, copies and what else goes beyond putting and
// getting. Run by tests/clients/main.rs under `atrest with`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { DefaultAzureCredential } from "@azure/identity";
import { BlobSASPermissions, BlobServiceClient, BlockBlobClient, generateBlobSASQueryParameters } from "@azure/storage-blob";

// A refusal is not asked for again.
const once = { retryOptions: { maxTries: 1 } };
const service = BlobServiceClient.fromConnectionString(process.env.AZURE_STORAGE_CONNECTION_STRING, once);
const container = service.getContainerClient("from-js");
await container.create();
const hour = new Date(Date.now() + 3600_000);

async function refused(status, code, call) {
  await assert.rejects(call, (e) => {
    assert.equal(e.statusCode, status, e.message);
    assert.equal(e.code ?? e.details?.errorCode, code, e.message);
    return true;
  });
}

async function collected(pages) {
  const all = [];
  for await (const item of pages) all.push(item);
  return all;
}

const text = async (blob) => (await blob.downloadToBuffer()).toString();

const steps = {
  async snapshots() {
    const blob = container.getBlockBlobClient("dated");
    await blob.upload("first", 5);
    const { snapshot } = await blob.createSnapshot({ metadata: { own: "1" } });
    await blob.upload("second", 6);
    const old = blob.withSnapshot(snapshot);
    assert.equal(await text(old), "first");
    assert.deepEqual((await old.getProperties()).metadata, { own: "1" });
    const listed = await collected(container.listBlobsFlat({ includeSnapshots: true }));
    assert.deepEqual(listed.map((b) => b.snapshot), [snapshot, undefined]);
    await refused(409, "SnapshotsPresent", () => blob.delete());
    await blob.delete({ deleteSnapshots: "include" });
    await refused(404, "BlobNotFound", () => old.download());
  },
  async copies() {
    const source = container.getBlockBlobClient("source");
    const data = randomBytes(100_000);
    await source.upload(data, data.length, { metadata: { k: "v" } });
    const copy = container.getBlockBlobClient("copy ü");
    const done = await (await copy.beginCopyFromURL(source.url)).pollUntilDone();
    assert.equal(done.copyStatus, "success");
    assert.deepEqual(await copy.downloadToBuffer(), data);
    assert.deepEqual((await copy.getProperties()).metadata, { k: "v" });
    const url = await source.generateSasUrl({ permissions: BlobSASPermissions.parse("r"), expiresOn: hour });
    assert.equal((await copy.syncCopyFromURL(url)).copyStatus, "success");
    await copy.syncUploadFromURL(url);
    await copy.stageBlockFromURL("AAAA", url, 10, 20);
    await copy.commitBlockList(["AAAA"]);
    assert.deepEqual(await copy.downloadToBuffer(), data.subarray(10, 30));
    await refused(409, "NoPendingCopyOperation", () => copy.abortCopyFromURL(done.copyId));
    await refused(404, "CannotVerifyCopySource", () => copy.syncCopyFromURL(url.replace("source", "missing")).catch((e) => {
      // The signature is of another blob: that is seen first.
      assert.equal(e.statusCode, 403);
      return copy.beginCopyFromURL(container.getBlobClient("missing").url);
    }));
    await refused(400, "CannotVerifyCopySource", () => copy.syncCopyFromURL("https://example.org/x"));
  },
  async appendBlobs() {
    const blob = container.getAppendBlobClient("log");
    await blob.create();
    assert.equal((await blob.appendBlock("one", 3)).blobAppendOffset, "0");
    const second = await blob.appendBlock("two", 3, { conditions: { appendPosition: 3, maxSize: 6 } });
    assert.deepEqual([second.blobAppendOffset, second.blobCommittedBlockCount], ["3", 2]);
    const late = { conditions: { appendPosition: 3 } };
    await refused(412, "AppendPositionConditionNotMet", () => blob.appendBlock("x", 1, late));
    await blob.seal();
    await refused(409, "BlobIsSealed", () => blob.appendBlock("x", 1));
    assert.equal(await text(blob), "onetwo");
    assert.equal((await blob.getProperties()).isSealed, true);
  },
  async leasesAndTiers() {
    const blob = container.getBlockBlobClient("leased");
    await blob.upload("x", 1);
    const lease = blob.getBlobLeaseClient();
    const { leaseId } = await lease.acquireLease(15);
    await refused(412, "LeaseIdMissing", () => blob.upload("y", 1));
    await blob.upload("y", 1, { conditions: { leaseId } });
    assert.equal((await blob.getProperties()).leaseState, "leased");
    await lease.renewLease();
    await lease.releaseLease();
    await blob.upload("z", 1);
    await blob.setAccessTier("Cool");
    assert.equal((await blob.getProperties()).accessTier, "Cool");
    await refused(412, "ConditionNotMet", () => blob.delete({ conditions: { tagConditions: "a = 'b'" } }));
    const whole = container.getBlobLeaseClient();
    const held = await whole.acquireLease(-1);
    await refused(412, "LeaseIdMissing", () => container.delete());
    await whole.breakLease(0);
    assert.ok(held.leaseId);
  },
  async delegationsAndPolicies() {
    const own = new BlobServiceClient("https://documents.blob.core.windows.net", new DefaultAzureCredential(), once);
    const key = await own.getUserDelegationKey(new Date(Date.now() - 60_000), hour);
    const blob = container.getBlockBlobClient("delegated");
    await blob.upload("x", 1);
    const shared = (letters, signedBy = key) => {
      const values = { containerName: "from-js", blobName: "delegated", permissions: BlobSASPermissions.parse(letters), expiresOn: hour };
      return new BlockBlobClient(`${blob.url}?${generateBlobSASQueryParameters(values, signedBy, "documents")}`, undefined, once);
    };
    assert.equal(await text(shared("r")), "x");
    await refused(403, "AuthorizationPermissionMismatch", () => shared("r").delete());
    await refused(403, "AuthenticationFailed", () => shared("r", { ...key, signedExpiresOn: new Date(Date.now() + 9e7) }).download());
    const policy = { accessPolicy: { permissions: "r", startsOn: new Date(Date.now() - 60_000), expiresOn: hour }, id: "readers" };
    await container.setAccessPolicy(undefined, [policy]);
    assert.equal((await container.getAccessPolicy()).signedIdentifiers[0].accessPolicy.permissions, "r");
    const named = new BlockBlobClient(await blob.generateSasUrl({ identifier: "readers" }), undefined, once);
    assert.equal(await text(named), "x");
    await container.setAccessPolicy(undefined, []);
    await refused(403, "AuthenticationFailed", () => named.download());
  },
  async batchesAndTags() {
    const blobs = ["b1", "b2", "b3"].map((name) => container.getBlockBlobClient(name));
    for (const blob of blobs) await blob.upload("x", 1, { tags: { kind: "batch" } });
    const found = await collected(service.findBlobsByTags("kind = 'batch'"));
    assert.deepEqual(found.map((b) => b.name), ["b1", "b2", "b3"]);
    const batch = service.getBlobBatchClient();
    assert.equal((await batch.setBlobsAccessTier([blobs[0]], "Cool")).subResponsesSucceededCount, 1);
    assert.equal((await blobs[0].getProperties()).accessTier, "Cool");
    const deleted = await batch.deleteBlobs([...blobs, container.getBlobClient("none")]);
    assert.deepEqual(deleted.subResponses.map((r) => r.status), [202, 202, 202, 404]);
    assert.equal(deleted.subResponses[3].errorCode, "BlobNotFound");
    await service.setProperties({ cors: [{ allowedOrigins: "*", allowedMethods: "GET", allowedHeaders: "", exposedHeaders: "", maxAgeInSeconds: 5 }] });
    assert.equal((await service.getProperties()).cors[0].allowedOrigins, "*");
  },
};

for (const [name, step] of Object.entries(steps)) {
  await step();
  console.log(name, "ok");
}
