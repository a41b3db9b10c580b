//! What keys do for callers who never see them.

use crate::base::{KeyName, KeyVersion};
use crate::crypto::{
    CipherParameters, Ciphertext, EncryptionAlgorithm, KeyEncryptionKey, KeyUseError, SecretBytes,
    SignatureAlgorithm,
};

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::wrapping::Wanted;
use super::{Cryptography, KeyOperation, LocalVault, Used, VaultError};

/// The most random bytes that are given at once (Azure Managed HSM's limit).
const RANDOM_MAX: usize = 128;

impl Cryptography for LocalVault {
    fn encrypt(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Used<Ciphertext>, VaultError> {
        self.use_for(KeyOperation::Encrypt, name, version, &algorithm, |key| {
            key.encrypt(algorithm, plaintext, with)
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
        self.use_for(KeyOperation::Decrypt, name, version, &algorithm, |key| {
            key.decrypt(algorithm, ciphertext, with)
        })
    }

    fn wrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        bytes: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError> {
        self.use_for(KeyOperation::WrapKey, name, version, &algorithm, |key| {
            key.wrap_bytes(algorithm, bytes)
        })
    }

    fn unwrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        wrapped: &[u8],
    ) -> Result<Used<SecretBytes>, VaultError> {
        self.use_for(KeyOperation::UnwrapKey, name, version, &algorithm, |key| {
            key.unwrap_bytes(algorithm, wrapped)
        })
    }

    fn sign(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError> {
        self.use_for(KeyOperation::Sign, name, version, &algorithm, |key| {
            key.sign(algorithm, digest)
        })
    }

    fn verify(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<Used<bool>, VaultError> {
        self.use_for(KeyOperation::Verify, name, version, &algorithm, |key| {
            key.verify(algorithm, digest, signature)
        })
    }

    fn random_bytes(&self, count: usize) -> Result<SecretBytes, VaultError> {
        let event = Event::new(AuditOperation::RandomBytesGet);
        let given = self.decide(event, move |_, _| {
            if !(1..=RANDOM_MAX).contains(&count) {
                let why = format!("{count} random bytes: give 1 to {RANDOM_MAX}");
                return Err(VaultError::BadParameter(why).into());
            }
            Ok(Some(SecretBytes::random(count)))
        })?;
        Ok(given.expect("it was not withdrawn"))
    }
}

impl LocalVault {
    fn use_for<T>(
        &self,
        operation: KeyOperation,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: &dyn std::fmt::Display,
        compute: impl Fn(&KeyEncryptionKey) -> Result<T, KeyUseError>,
    ) -> Result<Used<T>, VaultError> {
        let wanted = Wanted {
            operation,
            vault: self.vault_id(),
            name: name.clone(),
            pick: version.into(),
            kid: self.kid(name, version),
            algorithm: algorithm.to_string(),
        };
        self.use_key(&wanted, |kid, key| {
            let value = match (compute(key), operation) {
                (Err(KeyUseError::Failed), KeyOperation::UnwrapKey) => {
                    return Err(VaultError::UnwrapFailed);
                }
                (done, _) => done?,
            };
            let kid = kid.clone();
            Ok(Used { kid, value })
        })
    }
}
