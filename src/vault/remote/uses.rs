//! The use of keys.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::{KeyName, KeyRef, KeyVersion, KeyVersionRef};
use crate::crypto::{
    CipherParameters, Ciphertext, EncryptionAlgorithm, Secret, SecretBytes, SignatureAlgorithm,
    WrapAlgorithm,
};
use crate::vault::{Cryptography, KeyVault, KeyWrapper, Used, VaultError, WrappedKey};

use super::RemoteVault;
use super::client::Ask;
use super::refusal::{Doing, Refusal};
use super::wire::{bad, decoded, decoded_secret, encoded, json, parse};

/// The body of a use.
#[derive(Default, Serialize)]
struct UseOut {
    alg: &'static str,
    value: Zeroizing<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iv: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aad: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Zeroizing<String>>,
}

impl UseOut {
    fn new(algorithm: &'static str, value: &[u8]) -> Self {
        Self {
            alg: algorithm,
            value: encoded(value),
            ..Self::default()
        }
    }

    fn with(self, with: CipherParameters<'_>) -> Self {
        Self {
            iv: with.iv.map(encoded),
            aad: with.aad.map(encoded),
            tag: with.tag.map(encoded),
            ..self
        }
    }
}

/// `KeyOperationResult`
#[derive(Deserialize)]
struct UsedIn {
    kid: String,
    value: Zeroizing<String>,
    iv: Option<String>,
    tag: Option<String>,
}

impl KeyWrapper for RemoteVault {
    /// By the version that is the newest when it is asked for: the API wants the algorithm, which
    /// follows from the key.
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        if key.vault != self.id {
            return Err(VaultError::KeyNotFound(key.to_string()));
        }
        let newest = self.key(&key.name, None)?;
        let kind = newest.kind;
        let algorithm = kind.wrap_algorithm().ok_or_else(|| {
            VaultError::BadParameter(format!(
                "key {} is {kind}, which wraps no data encryption key; use RSA or oct-256",
                newest.kid
            ))
        })?;
        let version = Some(newest.kid.version);
        let body = UseOut::new(algorithm.general().name(), dek.expose());
        let used = self.use_key(Doing::Other, "wrapkey", &key.name, version, &body)?;
        let bytes = decoded("value", &used.value.value)?;
        match Some(bytes.len()) == kind.wrapped_len() {
            true => Ok(WrappedKey {
                key: used.kid,
                algorithm,
                bytes,
            }),
            false => Err(bad("a wrapped key of a wrong length")),
        }
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        if key.vault != self.id {
            return Err(VaultError::KeyNotFound(key.to_string()));
        }
        let body = UseOut::new(algorithm.general().name(), wrapped);
        let (name, version) = (&key.name, Some(key.version));
        let used = self.use_key(Doing::UnwrapKey, "unwrapkey", name, version, &body)?;
        let opened = decoded_secret("value", &used.value.value)?;
        let key = Secret::copy_from(opened.expose());
        key.ok_or_else(|| bad("an unwrapped key of a wrong length"))
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.revision.clone()
    }
}

impl Cryptography for RemoteVault {
    fn encrypt(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Used<Ciphertext>, VaultError> {
        let body = UseOut::new(algorithm.name(), plaintext).with(with);
        let used = self.use_key(Doing::Other, "encrypt", name, version, &body)?;
        let part = |name: &str, text: &Option<String>| {
            let bytes = text.as_deref().map(|text| decoded(name, text));
            bytes.transpose()
        };
        Ok(Used {
            value: Ciphertext {
                value: decoded("value", &used.value.value)?,
                iv: part("iv", &used.value.iv)?,
                tag: part("tag", &used.value.tag)?,
            },
            kid: used.kid,
        })
    }

    fn decrypt(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Used<SecretBytes>, VaultError> {
        let body = UseOut::new(algorithm.name(), ciphertext).with(with);
        self.use_for(
            Doing::Decrypt,
            "decrypt",
            name,
            version,
            &body,
            decoded_secret,
        )
    }

    fn wrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        key: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError> {
        let body = UseOut::new(algorithm.name(), key);
        self.use_for(Doing::Other, "wrapkey", name, version, &body, decoded)
    }

    fn unwrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        wrapped: &[u8],
    ) -> Result<Used<SecretBytes>, VaultError> {
        let body = UseOut::new(algorithm.name(), wrapped);
        self.use_for(
            Doing::UnwrapBytes,
            "unwrapkey",
            name,
            version,
            &body,
            decoded_secret,
        )
    }

    fn sign(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError> {
        let body = UseOut::new(algorithm.name(), digest);
        self.use_for(Doing::Other, "sign", name, version, &body, decoded)
    }

    /// The API does not tell which version it was: the newest is asked for first.
    fn verify(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<Used<bool>, VaultError> {
        #[derive(Deserialize)]
        struct Verified {
            value: bool,
        }
        let kid = match version {
            Some(version) => KeyVersionRef {
                vault: self.id,
                name: name.clone(),
                version,
            },
            None => self.key(name, None)?.kid,
        };
        let body = UseOut {
            digest: Some(encoded(digest)),
            ..UseOut::new(algorithm.name(), signature)
        };
        let ask = Ask::post(path(name, Some(kid.version), "verify")).with(json(&body));
        let ask = ask.repeatable();
        let answer = self.call(Doing::Other, name, Some(kid.version), ask)?;
        let Verified { value } = parse(&answer)?;
        Ok(Used { kid, value })
    }

    fn random_bytes(&self, count: usize) -> Result<SecretBytes, VaultError> {
        #[derive(Serialize)]
        struct Count {
            count: usize,
        }
        #[derive(Deserialize)]
        struct Random {
            value: Zeroizing<String>,
        }
        let ask = Ask::post("/rng").with(json(&Count { count })).repeatable();
        let answer = self.client.ask(&ask)?;
        if answer.status != 200 {
            return Err(Refusal::of(&answer).general(self.url()));
        }
        let random = decoded_secret("value", &parse::<Random>(&answer)?.value)?;
        match random.expose().len() == count {
            true => Ok(random),
            false => Err(bad("another number of random bytes than was asked for")),
        }
    }
}

fn path(name: &KeyName, version: Option<KeyVersion>, operation: &str) -> String {
    let version = version.map_or_else(String::new, |version| version.to_string());
    format!("/keys/{name}/{version}/{operation}")
}

impl RemoteVault {
    fn use_for<T>(
        &self,
        doing: Doing,
        operation: &str,
        name: &KeyName,
        version: Option<KeyVersion>,
        body: &UseOut,
        decode: fn(&str, &str) -> Result<T, VaultError>,
    ) -> Result<Used<T>, VaultError> {
        let used = self.use_key(doing, operation, name, version, body)?;
        Ok(Used {
            value: decode("value", &used.value.value)?,
            kid: used.kid,
        })
    }

    /// A use does the same when it is done twice, but for one audit record more.
    fn use_key(
        &self,
        doing: Doing,
        operation: &str,
        name: &KeyName,
        version: Option<KeyVersion>,
        body: &UseOut,
    ) -> Result<Used<UsedIn>, VaultError> {
        let ask = Ask::post(path(name, version, operation)).with(json(body));
        let answer = self.call(doing, name, version, ask.repeatable())?;
        let used: UsedIn = parse(&answer)?;
        Ok(Used {
            kid: self.wire().kid(&used.kid, name, version)?,
            value: used,
        })
    }
}
