// Wraps and unwraps a data key with the customer's key. Nothing here knows of atrest: the same file runs
// against Azure. npm install @azure/identity @azure/keyvault-keys

import { randomBytes } from "node:crypto";
import { DefaultAzureCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

const vault = process.env.VAULT_URL ?? "https://customer.vault.azure.net";
const credential = new DefaultAzureCredential();
const key = await new KeyClient(vault, credential).getKey("customer-key");
console.log("key      ", key.id);

const crypto = new CryptographyClient(key, credential);
const dataKey = randomBytes(32);
try {
  const { result: wrapped } = await crypto.wrapKey("RSA-OAEP-256", dataKey);
  console.log("wrapped  ", wrapped.length, "bytes");
  const { result: unwrapped } = await crypto.unwrapKey("RSA-OAEP-256", wrapped);
  console.log("unwrapped", dataKey.equals(unwrapped) ? "the same key" : "ANOTHER KEY");
} catch (e) {
  console.log("refused  ", e.statusCode, e.code);
}
