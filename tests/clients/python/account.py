"""What the scripts for blobs have in common: the account, and how a refusal is recognised."""

import os
from datetime import datetime, timedelta, timezone

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient

URL = "https://documents.blob.core.windows.net"
CONNECTION = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
KEY = dict(part.split("=", 1) for part in CONNECTION.split(";"))["AccountKey"]
service = BlobServiceClient.from_connection_string(CONNECTION)
credential = DefaultAzureCredential()


def refused(status, code, call):
    """`call` is refused by the server, with this status and code."""
    try:
        call()
    except HttpResponseError as e:
        assert (e.status_code, e.error_code) == (status, code), (e.status_code, e.error_code, e)
        return e
    raise AssertionError(f"not refused with {status} {code}")


def in_an_hour():
    return datetime.now(timezone.utc) + timedelta(hours=1)
