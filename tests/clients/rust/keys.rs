//! Azure's own client library for keys, unmodified and with its checks on, through the proxy. Run by
//! tests/clients/main.rs under `atrest with`.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::{RequestContent, StatusCode};
use azure_core::time::OffsetDateTime;
use azure_identity::ManagedIdentityCredential;
use azure_security_keyvault_keys::models::*;
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions, ResourceExt};
use futures::TryStreamExt;

const VAULT: &str = "https://customer.vault.azure.net";

type Done = Result<(), Box<dyn std::error::Error>>;

fn client(vault: &str) -> KeyClient {
    let credential = ManagedIdentityCredential::new(None).unwrap();
    KeyClient::new(vault, credential, None).unwrap()
}

fn refused<T: Debug>(result: azure_core::Result<T>, expected: StatusCode, code: &str) {
    let error = result.expect_err("not refused");
    match error.kind() {
        ErrorKind::HttpResponse { status, error_code, .. } => {
            assert_eq!((*status, error_code.as_deref()), (expected, Some(code)), "{error}");
        }
        other => panic!("{other:?}: {error}"),
    }
}

fn of(kty: KeyType) -> CreateKeyParameters {
    CreateKeyParameters {
        kty: Some(kty),
        ..Default::default()
    }
}

async fn create(client: &KeyClient, name: &str, of: CreateKeyParameters) -> Result<Key, Box<dyn std::error::Error>> {
    Ok(client.create_key(name, of.try_into()?, None).await?.into_model()?)
}

fn version(key: &Key) -> String {
    key.resource_id().unwrap().version.unwrap()
}

fn asked(algorithm: EncryptionAlgorithm, value: &[u8]) -> KeyOperationParameters {
    KeyOperationParameters {
        algorithm: Some(algorithm),
        value: Some(value.to_vec()),
        ..Default::default()
    }
}

async fn created_and_read(client: &KeyClient) -> Done {
    let tags = HashMap::from([("team".to_owned(), "payroll".to_owned())]);
    let rsa = CreateKeyParameters {
        key_size: Some(2048),
        tags: Some(tags.clone()),
        ..of(KeyType::Rsa)
    };
    let made = create(client, "rust-rsa", rsa).await?;
    assert_eq!(made.tags, Some(tags));
    let jwk = made.key.clone().unwrap();
    assert_eq!((jwk.n.unwrap().len(), jwk.e.unwrap()), (256, vec![1, 0, 1]));
    assert_eq!(jwk.kid.unwrap(), format!("{VAULT}/keys/rust-rsa/{}", version(&made)));
    let newest = client.get_key("rust-rsa", None).await?.into_model()?;
    assert_eq!(version(&newest), version(&made));
    let exactly = KeyClientGetKeyOptions {
        key_version: Some(version(&made)),
        ..Default::default()
    };
    client.get_key("rust-rsa", Some(exactly)).await?;
    for (name, curve) in [("p256", CurveName::P256), ("p256k", CurveName::P256K), ("p384", CurveName::P384), ("p521", CurveName::P521)] {
        let ec = CreateKeyParameters {
            curve: Some(curve.clone()),
            ..of(KeyType::Ec)
        };
        let made = create(client, &format!("rust-{name}"), ec).await?;
        assert_eq!(made.key.unwrap().crv, Some(curve));
    }
    create(client, "rust-oct", of(KeyType::Oct)).await?;
    refused(client.get_key("nothing", None).await, StatusCode::NotFound, "KeyNotFound");
    let odd = CreateKeyParameters {
        key_size: Some(1024),
        ..of(KeyType::Rsa)
    };
    refused(client.create_key("odd", odd.try_into()?, None).await, StatusCode::BadRequest, "BadParameter");
    Ok(())
}

async fn listed_in_pages(client: &KeyClient) -> Done {
    for _ in 0..30 {
        create(client, "rust-versions", of(KeyType::Ec)).await?;
    }
    let versions: Vec<_> = client.list_key_properties_versions("rust-versions", None)?.try_collect().await?;
    assert_eq!(versions.len(), 30);
    let few = KeyClientListKeyPropertiesOptions {
        maxresults: Some(2),
        ..Default::default()
    };
    let keys: Vec<_> = client.list_key_properties(Some(few))?.try_collect().await?;
    let names: Vec<_> = keys.iter().map(|key| key.resource_id().unwrap().name).collect();
    assert!(names.contains(&"rust-rsa".into()) && names.contains(&"rust-versions".into()), "{names:?}");
    Ok(())
}

async fn updated_and_rotated(client: &KeyClient) -> Done {
    let key = create(client, "rust-life", of(KeyType::Rsa)).await?;
    let change = UpdateKeyPropertiesParameters {
        tags: Some(HashMap::from([("a".into(), "b".into())])),
        key_ops: Some(vec![KeyOperation::WrapKey, KeyOperation::UnwrapKey]),
        ..Default::default()
    };
    let changed = client.update_key_properties("rust-life", change.try_into()?, None).await?.into_model()?;
    assert_eq!(changed.key.unwrap().key_ops.unwrap(), ["wrapKey", "unwrapKey"]);
    let rotated = client.rotate_key("rust-life", None).await?.into_model()?;
    assert_ne!(version(&rotated), version(&key));
    let policy = client.get_key_rotation_policy("rust-life", None).await?.into_model()?;
    assert_eq!(policy.lifetime_actions.unwrap().len(), 1);
    let policy = |expiry: &str| KeyRotationPolicy {
        attributes: Some(KeyRotationPolicyAttributes {
            expiry_time: Some(expiry.into()),
            ..Default::default()
        }),
        lifetime_actions: Some(vec![LifetimeAction {
            action: Some(LifetimeActionType {
                type_prop: Some(KeyRotationPolicyAction::Rotate),
            }),
            trigger: Some(LifetimeActionTrigger {
                time_after_create: Some("P60D".into()),
                ..Default::default()
            }),
        }]),
        ..Default::default()
    };
    let set = client.update_key_rotation_policy("rust-life", policy("P90D").try_into()?, None).await?.into_model()?;
    assert_eq!(set.attributes.unwrap().expiry_time.as_deref(), Some("P90D"));
    let short = client.update_key_rotation_policy("rust-life", policy("P1D").try_into()?, None).await;
    refused(short, StatusCode::BadRequest, "BadParameter");
    Ok(())
}

async fn used(client: &KeyClient) -> Done {
    let key = client.get_key("rust-rsa", None).await?.into_model()?;
    let (data, v) = ([0x5a; 32], version(&key));
    for algorithm in [EncryptionAlgorithm::RsaOaep256, EncryptionAlgorithm::RsaOaep] {
        let wrap = asked(algorithm.clone(), &data).try_into()?;
        let wrapped = client.wrap_key("rust-rsa", wrap, None).await?.into_model()?.result.unwrap();
        let unwrap = asked(algorithm.clone(), &wrapped).try_into()?;
        let back = client.unwrap_key("rust-rsa", &v, unwrap, None).await?.into_model()?;
        assert_eq!(back.result.as_deref(), Some(&data[..]));
        let seal = asked(algorithm.clone(), b"text").try_into()?;
        let sealed = client.encrypt("rust-rsa", seal, None).await?.into_model()?.result.unwrap();
        let open = asked(algorithm.clone(), &sealed).try_into()?;
        let opened = client.decrypt("rust-rsa", &v, open, None).await?.into_model()?;
        assert_eq!(opened.result.as_deref(), Some(&b"text"[..]));
        let mut broken = wrapped;
        broken[100] ^= 1;
        let unwrap = asked(algorithm, &broken).try_into()?;
        refused(client.unwrap_key("rust-rsa", &v, unwrap, None).await, StatusCode::BadRequest, "BadParameter");
    }
    let gcm = KeyOperationParameters {
        additional_authenticated_data: Some(b"aad".to_vec()),
        ..asked(EncryptionAlgorithm::A256Gcm, b"many bytes")
    };
    let sealed = client.encrypt("rust-oct", gcm.try_into()?, None).await?.into_model()?;
    let open = |aad: &[u8]| KeyOperationParameters {
        additional_authenticated_data: Some(aad.to_vec()),
        authentication_tag: sealed.authentication_tag.clone(),
        iv: sealed.iv.clone(),
        ..asked(EncryptionAlgorithm::A256Gcm, sealed.result.as_deref().unwrap())
    };
    let v = version(&client.get_key("rust-oct", None).await?.into_model()?);
    let opened = client.decrypt("rust-oct", &v, open(b"aad").try_into()?, None).await?.into_model()?;
    assert_eq!(opened.result.as_deref(), Some(&b"many bytes"[..]));
    let other = client.decrypt("rust-oct", &v, open(b"other").try_into()?, None).await;
    refused(other, StatusCode::BadRequest, "BadParameter");
    Ok(())
}

async fn signed(client: &KeyClient) -> Done {
    for (name, algorithm, length) in [
        ("rust-rsa", SignatureAlgorithm::Rs256, 32),
        ("rust-rsa", SignatureAlgorithm::Ps512, 64),
        ("rust-p256", SignatureAlgorithm::Es256, 32),
        ("rust-p256k", SignatureAlgorithm::Es256K, 32),
        ("rust-p384", SignatureAlgorithm::Es384, 48),
        ("rust-p521", SignatureAlgorithm::Es512, 64),
    ] {
        let v = version(&client.get_key(name, None).await?.into_model()?);
        let sign = SignParameters {
            algorithm: Some(algorithm.clone()),
            value: Some(vec![1; length]),
        };
        let signature = client.sign(name, sign.try_into()?, None).await?.into_model()?.result;
        for (digest, valid) in [(1, true), (2, false)] {
            let verify = VerifyParameters {
                algorithm: Some(algorithm.clone()),
                digest: Some(vec![digest; length]),
                signature: signature.clone(),
            };
            let verified = client.verify(name, &v, verify.try_into()?, None).await?.into_model()?;
            assert_eq!(verified.value, Some(valid), "{algorithm:?}");
        }
    }
    Ok(())
}

async fn imported(client: &KeyClient) -> Done {
    // The key of RFC 7517, A.2.
    let jwk = r#"{"key":{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}}"#;
    let made = client.import_key("rust-imported", RequestContent::from_str(jwk), None).await?.into_model()?;
    let key = made.key.unwrap();
    assert!(key.d.is_none() && key.x.unwrap().starts_with(&[0x30, 0xa0]));
    let none = r#"{"key":{"kty":"EC","crv":"P-256"}}"#;
    let broken = client.import_key("broken", RequestContent::from_str(none), None).await;
    refused(broken, StatusCode::BadRequest, "BadParameter");
    Ok(())
}

async fn deleted_recovered_purged(client: &KeyClient) -> Done {
    let key = create(client, "rust-gone", of(KeyType::Ec)).await?;
    let backup = client.backup_key("rust-gone", None).await?.into_model()?.value;
    let deleted = client.delete_key("rust-gone", None).await?.into_model()?;
    assert_eq!(deleted.recovery_id.unwrap(), format!("{VAULT}/deletedkeys/rust-gone"));
    client.get_deleted_key("rust-gone", None).await?;
    let all: Vec<_> = client.list_deleted_key_properties(None)?.try_collect().await?;
    assert!(all.iter().any(|key| key.resource_id().unwrap().name == "rust-gone"));
    refused(client.get_key("rust-gone", None).await, StatusCode::NotFound, "KeyNotFound");
    let again = client.create_key("rust-gone", of(KeyType::Ec).try_into()?, None).await;
    refused(again, StatusCode::Conflict, "Conflict");
    client.recover_deleted_key("rust-gone", None).await?;
    let restore = RestoreKeyParameters { key_backup: backup };
    let taken = client.restore_key(restore.clone().try_into()?, None).await;
    refused(taken, StatusCode::Conflict, "Conflict");
    client.delete_key("rust-gone", None).await?;
    client.purge_deleted_key("rust-gone", None).await?;
    refused(client.get_deleted_key("rust-gone", None).await, StatusCode::NotFound, "KeyNotFound");
    let back = client.restore_key(restore.try_into()?, None).await?.into_model()?;
    assert_eq!(version(&back), version(&key));
    Ok(())
}

async fn rules(client: &KeyClient) -> Done {
    let key = create(client, "rust-rules", of(KeyType::Rsa)).await?;
    let v = version(&key);
    let wrap = || asked(EncryptionAlgorithm::RsaOaep256, &[1; 32]).try_into();
    let wrapped = client.wrap_key("rust-rules", wrap()?, None).await?.into_model()?.result.unwrap();
    let unwrap = || asked(EncryptionAlgorithm::RsaOaep256, &wrapped).try_into();
    let attributes = |attributes: KeyAttributes| UpdateKeyPropertiesParameters {
        key_attributes: Some(attributes),
        ..Default::default()
    };
    for enabled in [false, true] {
        let change = attributes(KeyAttributes {
            enabled: Some(enabled),
            ..Default::default()
        });
        client.update_key_properties("rust-rules", change.try_into()?, None).await?;
        let used = client.unwrap_key("rust-rules", &v, unwrap()?, None).await;
        match enabled {
            true => assert_eq!(used?.into_model()?.result.unwrap(), [1; 32]),
            false => refused(used, StatusCode::Forbidden, "Forbidden"),
        }
    }
    // Expired: it still unwraps, and does not wrap.
    let past = OffsetDateTime::now_utc() - Duration::from_secs(86400);
    let change = attributes(KeyAttributes {
        expires: Some(past),
        ..Default::default()
    });
    client.update_key_properties("rust-rules", change.try_into()?, None).await?;
    client.unwrap_key("rust-rules", &v, unwrap()?, None).await?;
    refused(client.wrap_key("rust-rules", wrap()?, None).await, StatusCode::Forbidden, "Forbidden");
    Ok(())
}

async fn random_and_hardware(client: &KeyClient) -> Done {
    let random = |count| GetRandomBytesParameters { count: Some(count) };
    let bytes = client.get_random_bytes(random(32).try_into()?, None).await?.into_model()?;
    assert_eq!(bytes.value.unwrap().len(), 32);
    let many = client.get_random_bytes(random(129).try_into()?, None).await;
    refused(many, StatusCode::BadRequest, "BadParameter");
    let attested = client.get_key_attestation("rust-rsa", None).await;
    refused(attested, StatusCode::Forbidden, "Forbidden");
    let release = ReleaseParameters {
        target_attestation_token: Some("token".into()),
        ..Default::default()
    };
    let released = client.release("rust-rsa", release.try_into()?, None).await;
    refused(released, StatusCode::Forbidden, "Forbidden");
    Ok(())
}

async fn other_vaults_and_versions(ours: &KeyClient) -> Done {
    ours.get_key("rust-rsa", None).await?;
    let other = client("https://other.vault.azure.net");
    refused(other.get_key("rust-rsa", None).await, StatusCode::NotFound, "VaultNotFound");
    let bad = KeyClientOptions {
        api_version: "latest".into(),
        ..Default::default()
    };
    let bad = KeyClient::new(VAULT, ManagedIdentityCredential::new(None)?, Some(bad))?;
    refused(bad.get_key("rust-rsa", None).await, StatusCode::BadRequest, "BadParameter");
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    let ours = client(VAULT);
    macro_rules! steps {
        ($($step:ident),* $(,)?) => {
            $($step(&ours).await?; println!("{} ok", stringify!($step));)*
        };
    }
    steps!(
        created_and_read,
        listed_in_pages,
        updated_and_rotated,
        used,
        signed,
        imported,
        deleted_recovered_purged,
        rules,
        random_and_hardware,
        other_vaults_and_versions,
    );
    Ok(())
}
