"""Asks the server all that docs/openapi.json describes, right and wrong, by schemathesis: no answer is the
server's fault, and each is one that the document describes.

Run by tests/clients/main.rs under `atrest with`: contract.py DOCUMENT. The document is narrowed to keys and
secrets that are there, so that not all answers are 404.
"""

import json
import subprocess
import sys
import tempfile

from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient

VAULT = "https://customer.vault.azure.net"
credential = DefaultAzureCredential()
keys, secrets = KeyClient(VAULT, credential), SecretClient(VAULT, credential)

for name in ("used", "changed", "doomed", "deleted"):
    keys.create_rsa_key(name, size=2048)
    secrets.set_secret(name, "value")
keys.begin_delete_key("deleted").wait()
secrets.begin_delete_secret("deleted").wait()
versions = {
    "keys": {n: keys.get_key(n).properties.version for n in ("used", "changed")},
    "secrets": {n: secrets.get_secret(n).properties.version for n in ("used", "changed")},
}

document = json.load(open(sys.argv[1]))
for path, methods in document["paths"].items():
    kind = path.split("/")[1]
    for method, operation in methods.items():
        if "{name}" not in path:
            continue
        name = {"patch": "changed", "delete": "doomed", "put": "made"}.get(method, "used")
        if path.endswith("/create"):
            name = "made"
        if kind.startswith("deleted"):
            name = "deleted" if method == "get" else "doomed"
        choices = {"Name": [name]}
        if "{version}" in path:
            choices["Version"] = [versions[kind][name]]
        for i, parameter in enumerate(operation["parameters"]):
            which = parameter["$ref"].rsplit("/", 1)[1]
            if which in choices:
                of = document["components"]["parameters"][which]
                operation["parameters"][i] = {**of, "schema": {"type": "string", "enum": choices[which]}}
# RSA-4096 takes seconds.
document["components"]["schemas"]["KeyCreate"]["properties"]["key_size"]["enum"] = [256, 2048]

token = credential.get_token("https://vault.azure.net/.default").token
checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
# It writes where it runs.
with tempfile.TemporaryDirectory() as place:
    narrowed = f"{place}/openapi.json"
    json.dump(document, open(narrowed, "w"))
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", narrowed, "--url", VAULT,
        "--header", f"Authorization: Bearer {token}", "--checks", ",".join(checks),
        "--phases", "coverage,fuzzing", "--max-examples", "6", "--generation-deterministic",
        "--workers", "2", "--warnings", "off", "--no-color",
        "--request-timeout", "60",
    ]
    ended = subprocess.run(command, cwd=place)
sys.exit(ended.returncode)
