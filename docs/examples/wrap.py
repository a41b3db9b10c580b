"""Wraps and unwraps a data key with the customer's key. Nothing here knows of atrest: the same file runs
against Azure. pip install azure-identity azure-keyvault-keys"""

import os

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm

VAULT = os.environ.get("VAULT_URL", "https://customer.vault.azure.net")

credential = DefaultAzureCredential()
key = KeyClient(VAULT, credential).get_key("customer-key")
print("key      ", key.id)

crypto = CryptographyClient(key, credential)
data_key = os.urandom(32)
wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, data_key).encrypted_key
print("wrapped  ", len(wrapped), "bytes")
try:
    unwrapped = crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped).key
    print("unwrapped", "the same key" if unwrapped == data_key else "ANOTHER KEY")
except HttpResponseError as e:
    print("refused  ", e.status_code, e.error.code, e.error.innererror)
