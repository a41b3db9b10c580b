//! What keys do for callers who never see them.

use crate::base::{KeyName, KeyVersion};
use crate::crypto::{
    CipherParameters, Ciphertext, EncryptionAlgorithm, KeyEncryptionKey, KeyKind, KeyUseError,
    SecretBytes, SignatureAlgorithm,
};

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::wrapping::{PendingUse, Wanted};
use super::{Cryptography, KeyOperation, LocalVault, Used, VaultError};

/// The most random bytes that are given at once (Azure Managed HSM's limit).
const RANDOM_MAX: usize = 128;

/// What a use gave, as that which it always gives.
macro_rules! made {
    ($used:expr, $kind:ident) => {{
        let Used { kid, value } = $used?;
        match value {
            Made::$kind(value) => Ok(Used { kid, value }),
            _ => unreachable!("a use gives what it says"),
        }
    }};
}

impl Cryptography for LocalVault {
    fn encrypt(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Used<Ciphertext>, VaultError> {
        made!(
            self.use_for(&KeyUse::Encrypt(algorithm, plaintext, with), name, version),
            Ciphertext
        )
    }

    fn decrypt(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Used<SecretBytes>, VaultError> {
        made!(
            self.use_for(&KeyUse::Decrypt(algorithm, ciphertext, with), name, version),
            Secret
        )
    }

    fn wrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        bytes: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError> {
        made!(
            self.use_for(&KeyUse::Wrap(algorithm, bytes), name, version),
            Bytes
        )
    }

    fn unwrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        wrapped: &[u8],
    ) -> Result<Used<SecretBytes>, VaultError> {
        made!(
            self.use_for(&KeyUse::Unwrap(algorithm, wrapped), name, version),
            Secret
        )
    }

    fn sign(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError> {
        made!(
            self.use_for(&KeyUse::Sign(algorithm, digest), name, version),
            Bytes
        )
    }

    fn verify(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<Used<bool>, VaultError> {
        made!(
            self.use_for(&KeyUse::Verify(algorithm, digest, signature), name, version),
            Valid
        )
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

/// A use of a key.
pub enum KeyUse<'a> {
    /// Encrypts bytes.
    Encrypt(EncryptionAlgorithm, &'a [u8], CipherParameters<'a>),
    /// Decrypts them.
    Decrypt(EncryptionAlgorithm, &'a [u8], CipherParameters<'a>),
    /// Wraps a key.
    Wrap(EncryptionAlgorithm, &'a [u8]),
    /// Unwraps it.
    Unwrap(EncryptionAlgorithm, &'a [u8]),
    /// Signs a digest.
    Sign(SignatureAlgorithm, &'a [u8]),
    /// Tells whether the second is a signature over the first.
    Verify(SignatureAlgorithm, &'a [u8], &'a [u8]),
}

/// What a [`KeyUse`] gave.
pub enum Made {
    /// Of an encryption.
    Ciphertext(Ciphertext),
    /// A wrapped key, or a signature.
    Bytes(Vec<u8>),
    /// Of a decryption, or an unwrapped key.
    Secret(SecretBytes),
    /// Whether a signature is one.
    Valid(bool),
}

impl KeyUse<'_> {
    fn operation(&self) -> KeyOperation {
        match self {
            Self::Encrypt(..) => KeyOperation::Encrypt,
            Self::Decrypt(..) => KeyOperation::Decrypt,
            Self::Wrap(..) => KeyOperation::WrapKey,
            Self::Unwrap(..) => KeyOperation::UnwrapKey,
            Self::Sign(..) => KeyOperation::Sign,
            Self::Verify(..) => KeyOperation::Verify,
        }
    }

    fn algorithm(&self) -> String {
        match self {
            Self::Encrypt(algorithm, ..)
            | Self::Decrypt(algorithm, ..)
            | Self::Wrap(algorithm, _)
            | Self::Unwrap(algorithm, _) => algorithm.to_string(),
            Self::Sign(algorithm, _) | Self::Verify(algorithm, ..) => algorithm.to_string(),
        }
    }

    fn compute(&self, key: &KeyEncryptionKey) -> Result<Made, KeyUseError> {
        Ok(match *self {
            Self::Encrypt(algorithm, plaintext, with) => {
                Made::Ciphertext(key.encrypt(algorithm, plaintext, with)?)
            }
            Self::Decrypt(algorithm, ciphertext, with) => {
                Made::Secret(key.decrypt(algorithm, ciphertext, with)?)
            }
            Self::Wrap(algorithm, bytes) => Made::Bytes(key.wrap_bytes(algorithm, bytes)?),
            Self::Unwrap(algorithm, wrapped) => Made::Secret(key.unwrap_bytes(algorithm, wrapped)?),
            Self::Sign(algorithm, digest) => Made::Bytes(key.sign(algorithm, digest)?),
            Self::Verify(algorithm, digest, signature) => {
                Made::Valid(key.verify(algorithm, digest, signature)?)
            }
        })
    }
}

impl LocalVault {
    /// Computes a use of a key, which [`LocalVault::finish`] or [`LocalVault::finish_then`] decides; it may wait for the vault, unless
    /// [`LocalVault::is_at_hand`]. The first `attempt` is 1.
    pub fn begin_use(
        &self,
        what: &KeyUse<'_>,
        name: &KeyName,
        version: Option<KeyVersion>,
        attempt: u32,
    ) -> Result<PendingUse<Used<Made>>, VaultError> {
        let wanted = Wanted {
            operation: what.operation(),
            vault: self.vault_id(),
            name: name.clone(),
            pick: version.into(),
            kid: self.kid(name, version),
            algorithm: what.algorithm(),
        };
        self.begin(&wanted, attempt, |kid, key| {
            let value = match what.compute(key) {
                Err(KeyUseError::Failed) if wanted.operation == KeyOperation::UnwrapKey => {
                    return Err(VaultError::UnwrapFailed);
                }
                done => done?,
            };
            let kid = kid.clone();
            Ok(Used { kid, value })
        })
    }

    /// Whether a use of this key is begun at once: it is in memory, and takes less than a millisecond.
    pub fn is_at_hand(&self, name: &KeyName, version: Option<KeyVersion>) -> bool {
        let ready = self.keys_held().get(name, version.into());
        ready.is_some_and(|ready| !matches!(ready.key.kind(), KeyKind::Rsa3072 | KeyKind::Rsa4096))
    }

    /// Uses a key as often as it takes.
    fn use_for(
        &self,
        what: &KeyUse<'_>,
        name: &KeyName,
        version: Option<KeyVersion>,
    ) -> Result<Used<Made>, VaultError> {
        let mut attempt = 1;
        loop {
            let pending = self.begin_use(what, name, version, attempt)?;
            if let Some(used) = self.finish(pending)? {
                return Ok(used);
            }
            attempt += 1;
        }
    }
}
