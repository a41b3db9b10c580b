// Azure's own client library for blobs under Node, unmodified and with its checks on, through the proxy.
// Run by tests/clients/main.rs under `atrest with`.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { DefaultAzureCredential } from "@azure/identity";
import { KeyClient } from "@azure/keyvault-keys";
import { BlobSASPermissions, BlobServiceClient, BlockBlobClient, StorageSharedKeyCredential } from "@azure/storage-blob";

const url = "https://documents.blob.core.windows.net";
const credential = new DefaultAzureCredential();
// A refusal is not asked for again.
const once = { retryOptions: { maxTries: 1 } };
const service = BlobServiceClient.fromConnectionString(process.env.AZURE_STORAGE_CONNECTION_STRING, once);
const container = service.getContainerClient("from-js");

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

const steps = {
  async putAndGet() {
    await container.create({ metadata: { team: "payroll" } });
    await refused(409, "ContainerAlreadyExists", () => container.create());
    const blob = container.getBlockBlobClient("a b/ü+1.txt");
    const data = randomBytes(200_000);
    const done = await blob.upload(data, data.length, {
      metadata: { author: "Rosalind" },
      tags: { year: "2026" },
      blobHTTPHeaders: { blobContentType: "text/plain" },
    });
    assert.equal(done.isServerEncrypted, true);
    assert.deepEqual(await blob.downloadToBuffer(), data);
    assert.deepEqual(await blob.downloadToBuffer(65_530, 20), data.subarray(65_530, 65_550));
    const found = await blob.getProperties();
    assert.deepEqual(found.metadata, { author: "Rosalind" });
    assert.deepEqual(Buffer.from(found.contentMD5), createHash("md5").update(data).digest());
    assert.equal(found.contentType, "text/plain");
    assert.deepEqual((await blob.getTags()).tags, { year: "2026" });
    await refused(412, "ConditionNotMet", () => blob.upload("x", 1, { conditions: { ifMatch: '"0x0"' } }));
    await refused(409, "BlobAlreadyExists", () => blob.upload("x", 1, { conditions: { ifNoneMatch: "*" } }));
    await refused(404, "BlobNotFound", () => container.getBlockBlobClient("missing").download());
  },
  async largeInBlocks() {
    const blob = container.getBlockBlobClient("large");
    const data = randomBytes(9 * 1024 * 1024 + 7);
    await blob.uploadData(data, { blockSize: 1024 * 1024, maxSingleShotSize: 1024 * 1024, concurrency: 4 });
    assert.deepEqual(await blob.downloadToBuffer(0, undefined, { blockSize: 1024 * 1024, concurrency: 4 }), data);
    assert.equal((await blob.getBlockList("all")).committedBlocks.length, 10);
  },
  async lists() {
    for (const name of ["t/a/1", "t/a/2", "t/b"]) await container.getBlockBlobClient(name).upload(name, name.length);
    const flat = await collected(container.listBlobsFlat({ prefix: "t/" }));
    assert.deepEqual(flat.map((b) => b.name), ["t/a/1", "t/a/2", "t/b"]);
    const tree = await collected(container.listBlobsByHierarchy("/", { prefix: "t/" }));
    assert.deepEqual(tree.map((b) => `${b.kind} ${b.name}`).sort(), ["blob t/b", "prefix t/a/"]);
    const names = (await collected(service.listContainers())).map((c) => c.name);
    assert.deepEqual(names, ["default", "from-js"]);
  },
  async tokens() {
    const own = new BlobServiceClient(url, credential, once);
    const blob = own.getContainerClient("from-js").getBlockBlobClient("by-token");
    await blob.upload("token", 5);
    assert.equal((await blob.downloadToBuffer()).toString(), "token");
  },
  async signatures() {
    const blob = container.getBlockBlobClient("by-token");
    const hour = new Date(Date.now() + 3600_000);
    const shared = (letters, expiresOn) =>
      blob.generateSasUrl({ permissions: BlobSASPermissions.parse(letters), expiresOn });
    const reads = new BlockBlobClient(await shared("r", hour), undefined, once);
    assert.equal((await reads.downloadToBuffer()).toString(), "token");
    await refused(403, "AuthorizationPermissionMismatch", () => reads.delete());
    const expired = new BlockBlobClient(await shared("r", new Date(Date.now() - 60_000)), undefined, once);
    await refused(403, "AuthenticationFailed", () => expired.download());
    const wrong = new StorageSharedKeyCredential("documents", randomBytes(64).toString("base64"));
    const forged = new BlobServiceClient(url, wrong, once);
    await refused(403, "AuthenticationFailed", () => forged.getContainerClient("never").create());
  },
  async theCustomersKey() {
    const keys = new KeyClient("https://customer.vault.azure.net", credential);
    const version = (await keys.getKey("customer-key")).properties.version;
    const blob = container.getBlockBlobClient("by-token");
    await keys.updateKeyProperties("customer-key", version, { enabled: false });
    await refused(403, "KeyVaultEncryptionKeyNotFound", () => blob.download());
    await refused(403, "KeyVaultEncryptionKeyNotFound", () => blob.upload("x", 1));
    assert.ok((await collected(container.listBlobsFlat())).some((b) => b.name === "by-token"));
    await keys.updateKeyProperties("customer-key", version, { enabled: true });
    assert.equal((await blob.downloadToBuffer()).toString(), "token");
  },
};

for (const [name, step] of Object.entries(steps)) {
  await step();
  console.log(name, "ok");
}
