//! The columns that are sealed a second time, within their row (docs/format.md, "Sealed columns"): private keys and
//! the values of secrets. SQLite holds rows in memory that it does not wipe; what it holds of these is ciphertext.

use crate::base::{KeyVersion, VaultId};
use crate::crypto::{
    AeadKey, Label, NONCE_LEN, Secret, SecretBytes, TAG_LEN, TagMismatch, derive, random_bytes,
};

/// Which column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `versions.material`.
    Material,
    /// `secret_versions.value`.
    Value,
}

impl Field {
    const fn code(self) -> u8 {
        match self {
            Self::Material => 1,
            Self::Value => 2,
        }
    }

    /// Bound to its column and its row: neither is exchanged for another.
    fn aad(self, version: KeyVersion) -> [u8; 17] {
        let mut aad = [self.code(); 17];
        aad[1..].copy_from_slice(version.as_bytes());
        aad
    }
}

/// What these columns are sealed under.
pub struct FieldKey(AeadKey);

impl FieldKey {
    /// The key of `vault`, whose master key this is.
    pub fn new(master: &Secret<32>, vault: VaultId) -> Self {
        Self(AeadKey::new(&derive(
            master,
            Label::VaultField,
            &[vault.as_bytes()],
        )))
    }

    /// Seals what stands in `field` of the row of `version`. Nonces are random: at most 2^32 in a vault's life
    /// (NIST SP 800-38D, 8.3).
    pub fn seal(&self, field: Field, version: KeyVersion, plain: &SecretBytes) -> Vec<u8> {
        let (nonce, plain) = (random_bytes(), plain.expose());
        let mut sealed = vec![0; NONCE_LEN + plain.len()];
        sealed[..NONCE_LEN].copy_from_slice(&nonce);
        let to = &mut sealed[NONCE_LEN..];
        let tag = self.0.seal(&nonce, &field.aad(version), plain, to);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what stands in `field` of the row of `version`.
    ///
    /// # Errors
    /// It was altered, cut or exchanged, all alike.
    pub fn open(
        &self,
        field: Field,
        version: KeyVersion,
        sealed: &[u8],
    ) -> Result<SecretBytes, TagMismatch> {
        let (nonce, rest) = sealed.split_first_chunk().ok_or(TagMismatch)?;
        let (sealed, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(TagMismatch)?;
        let mut plain = vec![0; sealed.len()];
        self.0
            .open(nonce, &field.aad(version), sealed, tag, &mut plain)?;
        Ok(SecretBytes::from_vec(plain))
    }
}
