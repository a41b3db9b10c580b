// Azure's own client library for blobs under Node: snapshots, copies and what else goes beyond putting and
// getting. Run by tests/clients/main.rs under `atrest with`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { BlobSASPermissions, BlobServiceClient } from "@azure/storage-blob";

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
};

for (const [name, step] of Object.entries(steps)) {
  await step();
  console.log(name, "ok");
}
