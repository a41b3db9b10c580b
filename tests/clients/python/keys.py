"""Azure's own client library for keys, unmodified and with its checks on, through the proxy.

Run by tests/clients/main.rs under `atrest with`. Fails with a traceback at the first thing that is not as
Azure has it.
"""

import base64
import hashlib
import os
import sys
from datetime import datetime, timedelta, timezone

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ODataV4Format,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.rest import HttpRequest
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import (
    ApiVersion,
    JsonWebKey,
    KeyClient,
    KeyCurveName,
    KeyOperation,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
    KeyType,
)
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from cryptography.hazmat.primitives.asymmetric import ec, rsa

VAULT = "https://customer.vault.azure.net"
credential = DefaultAzureCredential()
client = KeyClient(VAULT, credential)


def refused(kind, status, code, call, inner=None):
    """`call` is refused by the server, with this status, code and inner code."""
    try:
        call()
    except kind as e:
        assert e.status_code == status, (e.status_code, e)
        assert e.error.code == code, (e.error.code, e)
        if inner:
            assert e.error.innererror == {"code": inner}, e.error.innererror
        return e
    raise AssertionError(f"not refused with {status} {code}")


def crypto(key):
    return CryptographyClient(key, credential)


def remote(key, operation, **body):
    """Has the vault do what CryptographyClient does locally: operations with a public key.

    Also AES key wrap and CBC: for a symmetric key that it was not told, CryptographyClient makes up a random one
    and computes with that (azure-keyvault-keys 4.11.3, crypto/_internal/symmetric_key.py).
    """
    as_text = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()
    body = {name: as_text(v) if isinstance(v, bytes) else v for name, v in body.items()}
    request = HttpRequest("POST", f"{key.id}/{operation}", params={"api-version": "7.4"}, json=body)
    response = client.send_request(request)
    if response.status_code >= 400:
        raise HttpResponseError(response=response, error_format=ODataV4Format)
    value = response.json()["value"]
    return base64.urlsafe_b64decode(value + "==") if isinstance(value, str) else value


def created_and_read():
    made = client.create_rsa_key("rsa", size=2048, tags={"team": "payroll"})
    assert made.name == "rsa" and made.key_type == KeyType.rsa, made
    assert made.id == f"{VAULT}/keys/rsa/{made.properties.version}", made.id
    assert int.from_bytes(made.key.e, "big") == 65537 and len(made.key.n) == 256
    assert made.properties.recovery_level == "Recoverable+Purgeable", made.properties.recovery_level
    assert made.properties.recoverable_days == 90
    assert made.properties.tags == {"team": "payroll"}
    assert abs(made.properties.created_on - datetime.now(timezone.utc)) < timedelta(minutes=5)
    newest = client.get_key("rsa")
    assert newest.id == made.id and newest.key.n == made.key.n
    assert client.get_key("rsa", made.properties.version).id == made.id
    refused(ResourceNotFoundError, 404, "KeyNotFound", lambda: client.get_key("nothing"))
    refused(ResourceNotFoundError, 404, "KeyNotFound", lambda: client.get_key("rsa", "0" * 32))
    refused(HttpResponseError, 400, "BadParameter", lambda: client.get_key("rsa", "first"))
    refused(HttpResponseError, 400, "BadParameter", lambda: client.create_rsa_key("odd", size=1024))


def every_kind():
    for curve in KeyCurveName:
        made = client.create_ec_key(f"ec-{curve.value}", curve=curve)
        assert made.key.crv == curve.value and made.key_type == KeyType.ec
    hsm = client.create_rsa_key("hsm", hardware_protected=True)
    assert hsm.key_type == KeyType.rsa_hsm
    oct_ = client.create_oct_key("oct", size=256)
    assert oct_.key_type == KeyType.oct and oct_.key.k is None, "the key was told"
    assert len(client.get_random_bytes(16)) == 16


def listed_in_pages():
    names = [f"page-{i:02}" for i in range(30)]
    for name in names:
        client.create_ec_key(name)
    listed = [key.name for key in client.list_properties_of_keys()]
    assert [name for name in listed if name.startswith("page-")] == names, listed
    pages = client.list_properties_of_keys(max_page_size=7).by_page()
    sizes = [len(list(page)) for page in pages]
    assert sizes[:-1] == [7] * (len(sizes) - 1) and sum(sizes) == len(listed), sizes
    for _ in range(30):
        client.create_ec_key("versions")
    versions = {key.version for key in client.list_properties_of_key_versions("versions")}
    assert len(versions) == 30


def updated_and_rotated():
    key = client.create_rsa_key("life")
    later = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=100)
    changed = client.update_key_properties(
        "life", tags={"a": "b"}, expires_on=later, key_operations=[KeyOperation.wrap_key]
    )
    assert changed.properties.expires_on == later and changed.properties.tags == {"a": "b"}
    assert changed.key_operations == ["wrapKey"]
    rotated = client.rotate_key("life")
    assert rotated.properties.version != key.properties.version
    assert client.get_key("life").id == rotated.id

    policy = client.get_key_rotation_policy("life")
    assert [a.action for a in policy.lifetime_actions] == [KeyRotationPolicyAction.notify]
    rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P60D")
    policy = client.update_key_rotation_policy(
        "life", KeyRotationPolicy(), expires_in="P90D", lifetime_actions=[rotate]
    )
    assert policy.expires_in == "P90D" and policy.id == f"{VAULT}/keys/life/rotationpolicy"
    assert policy.lifetime_actions[0].time_after_create == "P60D"
    refused(
        HttpResponseError, 400, "BadParameter",
        lambda: client.update_key_rotation_policy("life", KeyRotationPolicy(), expires_in="P1D"),
    )


def wrapped():
    key = client.create_rsa_key("wrap", size=2048)
    dek = os.urandom(32)
    for algorithm in (KeyWrapAlgorithm.rsa_oaep_256, KeyWrapAlgorithm.rsa_oaep, KeyWrapAlgorithm.rsa1_5):
        # Wrapped here with the public key, unwrapped there; and wrapped there.
        by_client = crypto(key).wrap_key(algorithm, dek).encrypted_key
        assert crypto(key).unwrap_key(algorithm, by_client).key == dek
        by_vault = remote(key, "wrapkey", alg=algorithm, value=dek)
        assert crypto(key).unwrap_key(algorithm, by_vault).key == dek
    other = client.create_rsa_key("wrap", size=2048)
    assert other.id != key.id
    oaep = KeyWrapAlgorithm.rsa_oaep_256
    by_old = crypto(key).wrap_key(oaep, dek).encrypted_key
    refused(HttpResponseError, 400, "BadParameter", lambda: crypto(other).unwrap_key(oaep, by_old))
    assert crypto(key).unwrap_key(oaep, by_old).key == dek
    oct_ = client.get_key("oct")
    by_vault = remote(oct_, "wrapkey", alg="A256KW", value=dek)
    assert len(by_vault) == 40 and remote(oct_, "unwrapkey", alg="A256KW", value=by_vault) == dek


def encrypted():
    rsa_ = client.get_key("rsa")
    for algorithm in (EncryptionAlgorithm.rsa_oaep, EncryptionAlgorithm.rsa_oaep_256, EncryptionAlgorithm.rsa1_5):
        sealed = crypto(rsa_).encrypt(algorithm, b"a few bytes").ciphertext
        assert crypto(rsa_).decrypt(algorithm, sealed).plaintext == b"a few bytes"
    oct_ = crypto(client.get_key("oct"))
    sealed = oct_.encrypt(EncryptionAlgorithm.a256_gcm, b"many bytes" * 100, additional_authenticated_data=b"aad")
    opened = oct_.decrypt(
        EncryptionAlgorithm.a256_gcm, sealed.ciphertext, iv=sealed.iv,
        authentication_tag=sealed.tag, additional_authenticated_data=b"aad",
    )
    assert opened.plaintext == b"many bytes" * 100
    refused(
        HttpResponseError, 400, "BadParameter",
        lambda: oct_.decrypt(
            EncryptionAlgorithm.a256_gcm, sealed.ciphertext, iv=sealed.iv,
            authentication_tag=sealed.tag, additional_authenticated_data=b"other",
        ),
    )
    oct_, iv = client.get_key("oct"), os.urandom(16)
    sealed = remote(oct_, "encrypt", alg="A256CBCPAD", value=b"any length", iv=iv)
    assert remote(oct_, "decrypt", alg="A256CBCPAD", value=sealed, iv=iv) == b"any length"


def signed():
    algorithms = {
        "rsa": [getattr(SignatureAlgorithm, f"{k}{n}") for k in ("rs", "ps") for n in (256, 384, 512)],
        "ec-P-256": [SignatureAlgorithm.es256],
        "ec-P-384": [SignatureAlgorithm.es384],
        "ec-P-521": [SignatureAlgorithm.es512],
        "ec-P-256K": [SignatureAlgorithm.es256_k],
    }
    for name, of_kind in algorithms.items():
        key = client.get_key(name)
        for algorithm in of_kind:
            bits = {"256": "sha256", "384": "sha384", "512": "sha512"}[algorithm.value.rstrip("K")[-3:]]
            digest = hashlib.new(bits, b"a message").digest()
            signature = crypto(key).sign(algorithm, digest).signature
            # Checked here with the public key, and there.
            assert crypto(key).verify(algorithm, digest, signature).is_valid, algorithm
            assert remote(key, "verify", alg=algorithm, digest=digest, value=signature) is True, algorithm
            other = hashlib.new(bits, b"another").digest()
            assert remote(key, "verify", alg=algorithm, digest=other, value=signature) is False, algorithm


def imported():
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    as_bytes = lambda n: n.to_bytes((n.bit_length() + 7) // 8, "big")
    made = client.import_key("imported", JsonWebKey(
        kty="RSA", key_ops=["wrapKey", "unwrapKey"],
        n=as_bytes(numbers.public_numbers.n), e=as_bytes(numbers.public_numbers.e),
        d=as_bytes(numbers.d), p=as_bytes(numbers.p), q=as_bytes(numbers.q),
        dp=as_bytes(numbers.dmp1), dq=as_bytes(numbers.dmq1), qi=as_bytes(numbers.iqmp),
    ))
    assert made.key.n == as_bytes(numbers.public_numbers.n) and made.key.d is None
    assert made.key_operations == ["wrapKey", "unwrapKey"], made.key_operations
    wrapped_ = crypto(made).wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"d" * 32).encrypted_key
    assert crypto(made).unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped_).key == b"d" * 32
    private = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    point = private.public_numbers
    made = client.import_key("imported-ec", JsonWebKey(
        kty="EC", crv="P-256", key_ops=["sign"],
        x=point.x.to_bytes(32, "big"), y=point.y.to_bytes(32, "big"), d=private.private_value.to_bytes(32, "big"),
    ))
    assert made.key.x == point.x.to_bytes(32, "big")
    refused(
        HttpResponseError, 400, "BadParameter",
        lambda: client.import_key("broken", JsonWebKey(kty="RSA", n=b"n", e=b"e", d=b"d")),
    )


def deleted_recovered_purged():
    key = client.create_rsa_key("gone", size=2048)
    backup = client.backup_key("gone")
    poller = client.begin_delete_key("gone")
    deleted = poller.result()
    assert deleted.recovery_id == f"{VAULT}/deletedkeys/gone" and deleted.scheduled_purge_date
    poller.wait()
    assert client.get_deleted_key("gone").id == key.id
    assert "gone" in [k.name for k in client.list_deleted_keys()]
    refused(ResourceNotFoundError, 404, "KeyNotFound", lambda: client.get_key("gone"))
    refused(
        ResourceExistsError, 409, "Conflict", lambda: client.create_rsa_key("gone"),
        inner="ObjectIsDeletedButRecoverable",
    )
    recover = client.begin_recover_deleted_key("gone")
    recover.wait()
    assert client.get_key("gone").id == key.id
    refused(ResourceExistsError, 409, "Conflict", lambda: client.restore_key_backup(backup))
    client.begin_delete_key("gone").wait()
    client.purge_deleted_key("gone")
    refused(ResourceNotFoundError, 404, "KeyNotFound", lambda: client.get_deleted_key("gone"))
    restored = client.restore_key_backup(backup)
    assert restored.id == key.id and restored.key.n == key.key.n
    tampered = backup[:-1] + bytes([backup[-1] ^ 1])
    refused(HttpResponseError, 400, "BadParameter", lambda: client.restore_key_backup(tampered))


def rules():
    oaep = KeyWrapAlgorithm.rsa_oaep_256
    key = client.create_rsa_key("rules", size=2048)
    wrapped_ = remote(key, "wrapkey", alg=oaep, value=b"d" * 32)
    use = lambda k: remote(k, "unwrapkey", alg=oaep, value=wrapped_)
    assert use(key) == b"d" * 32
    client.update_key_properties("rules", enabled=False)
    refused(HttpResponseError, 403, "Forbidden", lambda: use(key), inner="KeyDisabled")
    client.update_key_properties("rules", enabled=True)
    assert use(key) == b"d" * 32
    # Expired: it still unwraps, and does not wrap.
    past = datetime.now(timezone.utc) - timedelta(days=1)
    client.update_key_properties("rules", expires_on=past, not_before=past - timedelta(days=1))
    assert use(key) == b"d" * 32
    refused(HttpResponseError, 403, "Forbidden", lambda: remote(key, "wrapkey", alg=oaep, value=b"d" * 32))
    only_sign = client.create_rsa_key("only-sign", key_operations=[KeyOperation.sign])
    refused(HttpResponseError, 403, "Forbidden", lambda: remote(only_sign, "wrapkey", alg=oaep, value=b"d" * 32))


def random_and_hardware():
    assert len(client.get_random_bytes(32)) == 32 and client.get_random_bytes(128) != client.get_random_bytes(128)
    refused(HttpResponseError, 400, "BadParameter", lambda: client.get_random_bytes(129))
    # A vault without a hardware security module attests nothing, and releases no key.
    refused(HttpResponseError, 403, "Forbidden", lambda: client.get_key_attestation("rsa"))
    refused(HttpResponseError, 403, "Forbidden", lambda: client.release_key("rsa", "a token"))
    refused(ResourceNotFoundError, 404, "KeyNotFound", lambda: client.release_key("nothing", "a token"))
    for operation in ("securewrapkey", "secureunwrapkey"):
        call = lambda: remote(client.get_key("rsa"), operation, alg="RSA-OAEP-256", value=b"d" * 32)
        refused(HttpResponseError, 403, "Forbidden", call)


def other_vaults_and_tokens():
    other = KeyClient("https://other.vault.azure.net", credential)
    refused(ResourceNotFoundError, 404, "VaultNotFound", lambda: other.get_key("rsa"))

    class Forged:
        def get_token(self, *scopes, **kwargs):
            token = credential.get_token(*scopes)
            head, claims, signature = token.token.split(".")
            return token._replace(token=".".join([head, claims, signature[:-4] + "AAAA"]))

    class ForOthers:
        def get_token(self, *scopes, **kwargs):
            return credential.get_token("https://storage.azure.com/.default")

    for wrong in (Forged(), ForOthers()):
        wrong = KeyClient(VAULT, wrong)
        refused(ClientAuthenticationError, 401, "Unauthorized", lambda: wrong.get_key("rsa"))
    assert client.get_key("rsa")


def old_and_new_versions():
    for version in ApiVersion:
        assert KeyClient(VAULT, credential, api_version=version).get_key("rsa").name == "rsa", version
    for version in ("2031-01-01", "7.9"):
        assert KeyClient(VAULT, credential, api_version=version).get_key("rsa").name == "rsa", version
    bad = KeyClient(VAULT, credential, api_version="latest")
    refused(HttpResponseError, 400, "BadParameter", lambda: bad.get_key("rsa"))


STEPS = [
    created_and_read, every_kind, listed_in_pages, updated_and_rotated, wrapped, encrypted, signed,
    imported, deleted_recovered_purged, rules, random_and_hardware, other_vaults_and_tokens, old_and_new_versions,
]
for step in STEPS:
    step()
    print(step.__name__, "ok")
sys.exit(0)
