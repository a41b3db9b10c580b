"""Azure's own client library, unmodified: it waits when it is throttled and repeats what failed.

Run by tests/clients/main.rs: `atrest with --throttle=0.0001 -- retries.py throttle` grants one transaction of each
class in ten seconds, and `atrest with --inject=KeyList=503:#2 --inject=KeyGet=after-reset:#2 -- retries.py inject`
makes each second one fail.
"""

import sys

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient

VAULT = "https://customer.vault.azure.net"
credential = DefaultAzureCredential()


class Seen(SansIOHTTPPolicy):
    def __init__(self):
        self.statuses = []

    def on_response(self, request, response):
        self.statuses.append(response.http_response.status_code)


def throttled():
    seen = Seen()
    client = KeyClient(VAULT, credential, per_retry_policies=[seen])
    # On a machine so slow that ten seconds pass between two requests: once more.
    while 429 not in seen.statuses:
        assert client.get_key("customer-key").name == "customer-key"
    waited = seen.statuses.index(429)
    assert seen.statuses[waited + 1:][-1] == 200, seen.statuses


def not_retried():
    client = KeyClient(VAULT, credential, retry_total=0)
    try:
        while True:
            client.get_key("customer-key")
    except HttpResponseError as e:
        assert (e.status_code, e.error.code) == (429, "Throttled"), e
        assert 1 <= int(e.response.headers["Retry-After"]) <= 10, e.response.headers


def injected():
    seen = Seen()
    client = KeyClient(VAULT, credential, per_retry_policies=[seen], retry_backoff_factor=0.01)
    for _ in range(4):
        assert [key.name for key in client.list_properties_of_keys()] == ["customer-key"]
        # Each second answer is lost with its connection.
        assert client.get_key("customer-key").name == "customer-key"
    assert 503 in seen.statuses, seen.statuses


steps = {"throttle": (throttled, not_retried), "inject": (injected,)}
for step in steps[sys.argv[1]]:
    step()
    print(step.__name__, "ok")
