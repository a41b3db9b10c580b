"""Azure's own client library for secrets, unmodified and with its checks on, through the proxy.

Run by tests/clients/main.rs under `atrest with`.
"""

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

VAULT = "https://customer.vault.azure.net"
client = SecretClient(VAULT, DefaultAzureCredential())


def refused(kind, status, code, call):
    try:
        call()
    except kind as e:
        assert (e.status_code, e.error.code) == (status, code), e
        return
    raise AssertionError(f"not refused with {status} {code}")


def set_and_read():
    made = client.set_secret("password", "pässwörd \U0001f511", content_type="text/plain", tags={"a": "b"})
    assert made.id == f"{VAULT}/secrets/password/{made.properties.version}"
    read = client.get_secret("password")
    assert read.value == "pässwörd \U0001f511" and read.properties.content_type == "text/plain"
    newer = client.set_secret("password", "second")
    assert client.get_secret("password").value == "second"
    assert client.get_secret("password", made.properties.version).value == made.value
    assert newer.properties.version != made.properties.version
    refused(ResourceNotFoundError, 404, "SecretNotFound", lambda: client.get_secret("nothing"))
    refused(HttpResponseError, 400, "BadParameter", lambda: client.set_secret("long", "x" * 26_000))


def listed_in_pages():
    for _ in range(30):
        client.set_secret("versions", "v")
    versions = list(client.list_properties_of_secret_versions("versions"))
    assert len({v.version for v in versions}) == 30
    assert {"password", "versions"} <= {s.name for s in client.list_properties_of_secrets(max_page_size=1)}


def disabled():
    client.set_secret("rules", "value")
    client.update_secret_properties("rules", enabled=False)
    refused(HttpResponseError, 403, "Forbidden", lambda: client.get_secret("rules"))
    client.update_secret_properties("rules", enabled=True)
    assert client.get_secret("rules").value == "value"


def deleted_recovered_purged():
    made = client.set_secret("gone", "value")
    backup = client.backup_secret("gone")
    client.begin_delete_secret("gone").wait()
    assert client.get_deleted_secret("gone").recovery_id == f"{VAULT}/deletedsecrets/gone"
    assert "gone" in [s.name for s in client.list_deleted_secrets()]
    refused(ResourceNotFoundError, 404, "SecretNotFound", lambda: client.get_secret("gone"))
    refused(ResourceExistsError, 409, "Conflict", lambda: client.set_secret("gone", "other"))
    client.begin_recover_deleted_secret("gone").wait()
    assert client.get_secret("gone").value == "value"
    client.begin_delete_secret("gone").wait()
    client.purge_deleted_secret("gone")
    refused(ResourceNotFoundError, 404, "SecretNotFound", lambda: client.get_deleted_secret("gone"))
    assert client.restore_secret_backup(backup).version == made.properties.version
    assert client.get_secret("gone").value == "value"


for step in (set_and_read, listed_in_pages, disabled, deleted_recovered_purged):
    step()
    print(step.__name__, "ok")
