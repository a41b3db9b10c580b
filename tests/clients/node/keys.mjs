// Azure's own client library for keys under Node, unmodified and with its checks on, through the proxy.
// Run by tests/clients/main.rs under `atrest with`.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { DefaultAzureCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

const vault = "https://customer.vault.azure.net";
const credential = new DefaultAzureCredential();
const client = new KeyClient(vault, credential);
const crypto = (key) => new CryptographyClient(key.id, credential);

async function refused(status, code, call, inner) {
  await assert.rejects(call, (e) => {
    assert.equal(e.statusCode, status, e.message);
    assert.equal(e.code, code, e.message);
    if (inner) {
      assert.equal(e.details?.error?.innererror?.code ?? JSON.parse(e.response.bodyAsText).error.innererror.code, inner);
    }
    return true;
  });
}

async function collected(pages) {
  const all = [];
  for await (const item of pages) all.push(item);
  return all;
}

const steps = {
  async createdAndRead() {
    const made = await client.createRsaKey("js-rsa", { keySize: 2048, tags: { team: "payroll" } });
    assert.equal(made.id, `${vault}/keys/js-rsa/${made.properties.version}`);
    assert.equal(made.properties.tags.team, "payroll");
    assert.equal((await client.getKey("js-rsa")).id, made.id);
    assert.equal((await client.getKey("js-rsa", { version: made.properties.version })).id, made.id);
    await refused(404, "KeyNotFound", () => client.getKey("nothing"));
    await refused(400, "BadParameter", () => client.createRsaKey("odd", { keySize: 1024 }));
  },

  async listedInPages() {
    for (let i = 0; i < 30; i++) await client.createEcKey("js-versions");
    assert.equal((await collected(client.listPropertiesOfKeyVersions("js-versions"))).length, 30);
    const names = (await collected(client.listPropertiesOfKeys())).map((key) => key.name);
    assert.ok(names.includes("js-rsa") && names.includes("js-versions"));
  },

  async updatedAndRotated() {
    const key = await client.createRsaKey("js-life");
    const changed = await client.updateKeyProperties("js-life", key.properties.version, { tags: { a: "b" } });
    assert.equal(changed.properties.tags.a, "b");
    const rotated = await client.rotateKey("js-life");
    assert.notEqual(rotated.id, key.id);
    const policy = await client.updateKeyRotationPolicy("js-life", {
      lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P60D" }],
      expiresIn: "P90D",
    });
    assert.equal(policy.expiresIn, "P90D");
    const read = await client.getKeyRotationPolicy("js-life");
    assert.equal(read.lifetimeActions[0].timeAfterCreate, "P60D");
    await refused(400, "BadParameter", () => client.updateKeyRotationPolicy("js-life", { expiresIn: "P1D" }));
  },

  async used() {
    const key = await client.getKey("js-rsa");
    const dek = randomBytes(32);
    const { result: wrapped } = await crypto(key).wrapKey("RSA-OAEP-256", dek);
    assert.deepEqual(Buffer.from((await crypto(key).unwrapKey("RSA-OAEP-256", wrapped)).result), dek);
    const oct = await client.createKey("js-oct", "oct", { keySize: 256 });
    const { result: aes } = await crypto(oct).wrapKey("A256KW", dek);
    assert.equal(aes.length, 40);
    assert.deepEqual(Buffer.from((await crypto(oct).unwrapKey("A256KW", aes)).result), dek);
    const { result: sealed } = await crypto(key).encrypt({ algorithm: "RSA-OAEP", plaintext: Buffer.from("text") });
    const opened = await crypto(key).decrypt({ algorithm: "RSA-OAEP", ciphertext: sealed });
    assert.equal(Buffer.from(opened.result).toString(), "text");
    const digest = createHash("sha256").update("a message").digest();
    for (const [name, algorithm] of [["js-rsa", "PS256"], ["js-rsa", "RS256"], ["js-versions", "ES256"]]) {
      const signer = crypto(await client.getKey(name));
      const { result: signature } = await signer.sign(algorithm, digest);
      assert.ok((await signer.verify(algorithm, digest, signature)).result, algorithm);
      const other = createHash("sha256").update("another").digest();
      assert.ok(!(await signer.verify(algorithm, other, signature)).result, algorithm);
    }
  },

  async deletedRecoveredPurged() {
    const key = await client.createRsaKey("js-gone");
    const backup = await client.backupKey("js-gone");
    await (await client.beginDeleteKey("js-gone", { intervalInMs: 50 })).pollUntilDone();
    await refused(404, "KeyNotFound", () => client.getKey("js-gone"));
    assert.equal((await client.getDeletedKey("js-gone")).id, key.id);
    assert.ok((await collected(client.listDeletedKeys())).some((deleted) => deleted.name === "js-gone"));
    await refused(409, "Conflict", () => client.createRsaKey("js-gone"));
    await (await client.beginRecoverDeletedKey("js-gone", { intervalInMs: 50 })).pollUntilDone();
    assert.equal((await client.getKey("js-gone")).id, key.id);
    await (await client.beginDeleteKey("js-gone", { intervalInMs: 50 })).pollUntilDone();
    await client.purgeDeletedKey("js-gone");
    await refused(404, "KeyNotFound", () => client.getDeletedKey("js-gone"));
    assert.equal((await client.restoreKeyBackup(backup)).id, key.id);
    await refused(409, "Conflict", () => client.restoreKeyBackup(backup));
  },

  async disabled() {
    const key = await client.createRsaKey("js-rules");
    const { result: wrapped } = await crypto(key).wrapKey("RSA-OAEP-256", randomBytes(32));
    await client.updateKeyProperties("js-rules", key.properties.version, { enabled: false });
    await refused(403, "Forbidden", () => crypto(key).unwrapKey("RSA-OAEP-256", wrapped));
    await client.updateKeyProperties("js-rules", key.properties.version, { enabled: true });
    assert.equal((await crypto(key).unwrapKey("RSA-OAEP-256", wrapped)).result.length, 32);
  },

  async expired() {
    const key = await client.createRsaKey("js-expired");
    // The client fetches the key once, and refuses one that had expired by then itself.
    const before = crypto(key);
    const { result: wrapped } = await before.wrapKey("RSA-OAEP-256", randomBytes(32));
    await client.updateKeyProperties("js-expired", key.properties.version, { expiresOn: new Date(Date.now() - 86400e3) });
    // It still unwraps, and does not sign.
    assert.equal((await before.unwrapKey("RSA-OAEP-256", wrapped)).result.length, 32);
    const digest = createHash("sha256").update("a message").digest();
    await refused(403, "Forbidden", () => before.sign("RS256", digest));
  },

  async imported() {
    // The key of RFC 7517, A.2.
    const bytes = (text) => Buffer.from(text, "base64url");
    const point = { x: bytes("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"), y: bytes("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM") };
    const d = bytes("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE");
    const made = await client.importKey("js-imported", { kty: "EC", crv: "P-256", keyOps: ["sign"], ...point, d });
    assert.deepEqual(Buffer.from(made.key.x), point.x);
    assert.equal(made.key.d, undefined);
    await refused(400, "BadParameter", () => client.importKey("js-broken", { kty: "EC", crv: "P-256", ...point }));
  },

  async randomAndHardware() {
    assert.equal((await client.getRandomBytes(32)).length, 32);
    await refused(400, "BadParameter", () => client.getRandomBytes(129));
    await refused(403, "Forbidden", () => client.getKeyAttestation("js-rsa"));
    await refused(403, "Forbidden", () => client.releaseKey("js-rsa", "a token"));
  },

  async wrongToken() {
    const forged = { getToken: async () => ({ token: "e30.e30.AAAA", expiresOnTimestamp: Date.now() + 3600e3 }) };
    await refused(401, "Unauthorized", () => new KeyClient(vault, forged).getKey("js-rsa"));
    const other = new KeyClient("https://other.vault.azure.net", credential);
    await refused(404, "VaultNotFound", () => other.getKey("js-rsa"));
  },
};

for (const [name, step] of Object.entries(steps)) {
  await step();
  console.log(name, "ok");
}
