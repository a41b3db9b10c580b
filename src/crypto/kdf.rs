use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::base::{Part, within};

use super::{Secret, SecretBytes};

/// What a derived key is for. One table: two purposes never share a key. Each label is the start
/// of HKDF's `info`; what follows it (the context) has a fixed length for each label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// MAC and key commitment of an envelope. Context: none (the MAC covers the identity).
    Envelope,
    /// MAC of a sealed SQLite file's header slot. Context: file id.
    SqliteHeader,
    /// Pages of the main database file. Context: file id, session salt.
    SqlitePage,
    /// Wraps the data encryption key before the one that it is derived from. Context: file id.
    SqlitePrevious,
    /// Shows that one data encryption key took the place of another. Context: file id.
    SqliteLink,
    /// The sum of a sealed file's pages, which tells an old page. Context: file id.
    SqliteSum,
    /// WAL header, frame headers and pages. Context: file id, session salt.
    SqliteWal,
    /// Rollback journals and super-journals. Context: file id, session salt.
    SqliteJournal,
    /// Temporary files, under a random key that is never stored. Context: zeros, session salt.
    SqliteTemporary,
    /// Commitment to the key of an account or of a scope. Context: its id.
    BlobAccount,
    /// Wraps blob generation keys, under the account key. Context: account id.
    BlobGeneration,
    /// Chunks of one extent, under a generation key. Context: extent id, salt.
    BlobExtent,
    /// Commitment to the key of one extent. Context: extent id, salt.
    BlobCommitment,
    /// One manifest, under the account key. Context: account id, salt.
    BlobManifest,
    /// A key that signs in an identity's name, under the account's delegation secret. Context: account id,
    /// SHA-256 of whose and when.
    BlobDelegation,
    /// What stands for the account key where a client gives a key of its own. Context: account id.
    BlobProvided,
    /// The infrastructure key, under the catalog key. Context: account id.
    BlobInfrastructure,
    /// The second layer of one extent, under the infrastructure key. Context: extent id, salt.
    BlobOuter,
    /// MAC of a vault's root-key record and commitment to the master key. Context: vault id.
    VaultRoot,
    /// The key that seals a vault's file, under the vault's master key. Context: vault id.
    VaultFile,
    /// Key backups, which only the same vault restores. Context: vault id.
    VaultBackup,
    /// Secret backups. Context: vault id.
    VaultSecretBackup,
    /// The audit chain and its anchor. Context: vault id.
    VaultAudit,
    /// Private keys and the values of secrets, within their rows. Context: vault id.
    VaultField,
}

impl Label {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Envelope => b"atrest/v1/envelope",
            Self::SqliteHeader => b"atrest/v1/sqlite/header",
            Self::SqlitePage => b"atrest/v1/sqlite/page",
            Self::SqlitePrevious => b"atrest/v1/sqlite/previous",
            Self::SqliteLink => b"atrest/v1/sqlite/link",
            Self::SqliteSum => b"atrest/v1/sqlite/sum",
            Self::SqliteWal => b"atrest/v1/sqlite/wal",
            Self::SqliteJournal => b"atrest/v1/sqlite/journal",
            Self::SqliteTemporary => b"atrest/v1/sqlite/temporary",
            Self::BlobAccount => b"atrest/v1/blob/account",
            Self::BlobGeneration => b"atrest/v1/blob/generation",
            Self::BlobExtent => b"atrest/v1/blob/extent",
            Self::BlobCommitment => b"atrest/v1/blob/commitment",
            Self::BlobDelegation => b"atrest/v1/blob/delegation",
            Self::BlobManifest => b"atrest/v1/blob/manifest",
            Self::BlobProvided => b"atrest/v1/blob/provided",
            Self::BlobInfrastructure => b"atrest/v1/blob/infrastructure",
            Self::BlobOuter => b"atrest/v1/blob/outer",
            Self::VaultRoot => b"atrest/v1/vault/root",
            Self::VaultFile => b"atrest/v1/vault/file",
            Self::VaultBackup => b"atrest/v1/vault/backup",
            Self::VaultSecretBackup => b"atrest/v1/vault/secret-backup",
            Self::VaultAudit => b"atrest/v1/vault/audit",
            Self::VaultField => b"atrest/v1/vault/field",
        }
    }
}

/// A 256-bit key derived from `key`: HKDF-SHA-256 (RFC 5869) without salt, with
/// `info = label || 0x00 || context...`.
pub fn derive(key: &Secret<32>, label: Label, context: &[&[u8]]) -> Secret<32> {
    within(Part::Derive, || {
        expand(&Hkdf::new(None, key.expose()), label, context)
    })
}

/// The same from two keys: who lacks either has nothing. The first is HKDF's salt, as TLS 1.3 (RFC 8446,
/// 7.1) puts one secret on top of another.
pub fn derive_from_both(
    first: &Secret<32>,
    second: &Secret<32>,
    label: Label,
    context: &[&[u8]],
) -> Secret<32> {
    within(Part::Derive, || {
        let hkdf = Hkdf::new(Some(first.expose()), second.expose());
        expand(&hkdf, label, context)
    })
}

fn expand(hkdf: &Hkdf<Sha256>, label: Label, context: &[&[u8]]) -> Secret<32> {
    let mut info = vec![label.text(), &[0]];
    info.extend_from_slice(context);
    Secret::init_with(|out| {
        hkdf.expand_multi_info(&info, out)
            .expect("32 bytes are within HKDF's limit");
    })
}

/// SHA-256 (FIPS 180-4) of `parts`, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|p| hash.update(p));
    hash.finalize().into()
}

/// HMAC-SHA-256 (RFC 2104) of `parts`, one after the other.
pub fn hmac_sha256(key: &Secret<32>, parts: &[&[u8]]) -> [u8; 32] {
    keyed(key, parts).finalize().into_bytes().into()
}

/// Whether `mac` is the HMAC-SHA-256 of `parts`, compared in constant time.
pub fn hmac_verify(key: &Secret<32>, parts: &[&[u8]], mac: &[u8; 32]) -> bool {
    keyed(key, parts).verify_slice(mac).is_ok()
}

/// The same for a key of any length, and a `mac` that may have another.
pub fn hmac_verify_bytes(key: &SecretBytes, message: &[u8], mac: &[u8]) -> bool {
    let mut hmac =
        Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    hmac.update(message);
    hmac.verify_slice(mac).is_ok()
}

fn keyed(key: &Secret<32>, parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut hmac =
        Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    parts.iter().for_each(|p| hmac.update(p));
    hmac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret<32> {
        Secret::init_with(|bytes| (0..32).zip(bytes).for_each(|(n, byte)| *byte = n))
    }

    /// Computed with another implementation (Python's hmac): the bytes that `info` consists of, and
    /// that there is no salt, are part of the format.
    #[test]
    fn a_derived_key_is_what_the_format_says() {
        let derived = derive(&key(), Label::SqlitePage, &[&[0xaa; 16], &[0xbb; 16]]);
        let expected = "796ca685b943788f4f374234c51c6c137cefd7f172956e088fb38e3d31e4e8ce";
        assert_eq!(hex::encode(derived.expose()), expected);
    }

    /// Computed with another implementation (Python's hmac): HMAC(first, second), expanded.
    #[test]
    fn a_key_from_two_needs_both() {
        let (first, second) = (key(), Secret::init_with(|bytes| bytes.fill(0xcc)));
        let both = |a, b| derive_from_both(a, b, Label::BlobProvided, &[&[0xaa; 16]]);
        let expected = "c2d84d6ed3b542a3ab67454ff0735822654f43b9b622f69003c964f572c20dc4";
        assert_eq!(hex::encode(both(&first, &second).expose()), expected);
        let other = Secret::random();
        for (a, b) in [(&second, &first), (&first, &other), (&other, &second)] {
            assert!(!both(a, b).ct_eq(&both(&first, &second)));
        }
    }

    #[test]
    fn two_purposes_never_share_a_key() {
        let labels = [
            Label::Envelope,
            Label::SqliteHeader,
            Label::SqlitePage,
            Label::SqlitePrevious,
            Label::SqliteLink,
            Label::SqliteSum,
            Label::SqliteWal,
            Label::SqliteJournal,
            Label::SqliteTemporary,
            Label::BlobAccount,
            Label::BlobGeneration,
            Label::BlobExtent,
            Label::BlobCommitment,
            Label::BlobManifest,
            Label::BlobDelegation,
            Label::BlobProvided,
            Label::BlobInfrastructure,
            Label::BlobOuter,
            Label::VaultRoot,
            Label::VaultFile,
            Label::VaultBackup,
            Label::VaultSecretBackup,
            Label::VaultAudit,
            Label::VaultField,
        ];
        assert_eq!(
            labels.len(),
            Label::VaultField as usize + 1,
            "each label is here"
        );
        let format = include_str!("../../docs/format.md");
        for (at, a) in labels.iter().enumerate() {
            assert!(!a.text().contains(&0), "the separator ends the label");
            let row = format!("\n| `{}` | ", str::from_utf8(a.text()).unwrap());
            assert!(
                format.contains(&row),
                "docs/format.md lacks the row of {a:?}"
            );
            for b in &labels[at + 1..] {
                assert_ne!(a.text(), b.text());
                assert!(!derive(&key(), *a, &[]).ct_eq(&derive(&key(), *b, &[])));
            }
        }
    }

    #[test]
    fn an_altered_mac_is_refused() {
        let mac = hmac_sha256(&key(), &[b"a", b"bc"]);
        let expected = "f0133729c4163dede81e21cd47839256da58171238c8a0d874397c73b14e1e47";
        assert_eq!(hex::encode(mac), expected);
        assert!(hmac_verify(&key(), &[b"ab", b"c"], &mac));
        for at in 0..32 {
            let mut altered = mac;
            altered[at] ^= 0x80;
            assert!(!hmac_verify(&key(), &[b"abc"], &altered));
        }
        assert!(!hmac_verify(&Secret::random(), &[b"abc"], &mac));
    }
}
