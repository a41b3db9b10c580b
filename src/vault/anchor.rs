//! The audit anchor: how long the audit chain is and what its head is, kept outside the vault's
//! file, so that a log whose tail was cut, or an old vault file put back, is found out.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::base::{
    Part, within, {VaultId, write_atomic, write_private_new},
};
use crate::crypto::{Secret, hmac_sha256, hmac_verify};

use super::VaultError;

// Layout of an anchor slot. The file has two; the one for record count `n` is slot `n % 2`, so
// that a torn write leaves the other.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const ZERO_AT: usize = VERSION_AT + 2;
const VAULT_AT: usize = ZERO_AT + 6;
const COUNT_AT: usize = VAULT_AT + 16;
const HEAD_AT: usize = COUNT_AT + 8;
const MAC_AT: usize = HEAD_AT + 32;
const END: usize = MAC_AT + 32;
const SLOT_LEN: usize = 512;

const MAGIC: &[u8; 8] = b"atrestVA";
const VERSION: u16 = 1;

/// The audit chain's length and head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditAnchor {
    /// How many records the chain has; the last one's number.
    pub records: u64,
    /// The last record's MAC; zeros when there is none.
    pub head: [u8; 32],
}

impl AuditAnchor {
    /// Length of an anchor file, in bytes.
    pub const FILE_LEN: usize = 2 * SLOT_LEN;

    /// An anchor file with this anchor alone, for `vault`, under its audit key.
    pub fn to_file(&self, audit_key: &Secret<32>, vault: VaultId) -> [u8; Self::FILE_LEN] {
        let mut file = [0; Self::FILE_LEN];
        let at = self.offset();
        file[at..at + SLOT_LEN].copy_from_slice(&self.slot(audit_key, vault));
        file
    }

    /// The newest authentic anchor of a file, or `None` when it has none for this vault and key.
    pub fn parse(
        file: &[u8; Self::FILE_LEN],
        audit_key: &Secret<32>,
        vault: VaultId,
    ) -> Option<Self> {
        let slots = file.chunks_exact(SLOT_LEN).enumerate();
        slots
            .filter_map(|(i, slot)| Self::parse_slot(i, slot, audit_key, vault))
            .max()
    }

    fn parse_slot(index: usize, b: &[u8], audit_key: &Secret<32>, vault: VaultId) -> Option<Self> {
        let anchor = Self {
            records: u64::from_le_bytes(b[COUNT_AT..HEAD_AT].try_into().expect("8 bytes")),
            head: b[HEAD_AT..MAC_AT].try_into().expect("32 bytes"),
        };
        let mac = b[MAC_AT..END].try_into().expect("32 bytes");
        let authentic = hmac_verify(audit_key, &[&b[..MAC_AT]], mac);
        // Only one sequence of bytes stands for an anchor; the MAC covers it up to itself.
        let canonical = b[..COUNT_AT] == anchor.slot(audit_key, vault)[..COUNT_AT]
            && b[END..].iter().all(|&x| x == 0)
            && anchor.offset() == index * SLOT_LEN;
        (authentic && canonical).then_some(anchor)
    }

    fn slot(&self, audit_key: &Secret<32>, vault: VaultId) -> [u8; SLOT_LEN] {
        let mut b = [0; SLOT_LEN];
        b[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        b[VERSION_AT..ZERO_AT].copy_from_slice(&VERSION.to_le_bytes());
        b[VAULT_AT..COUNT_AT].copy_from_slice(vault.as_bytes());
        b[COUNT_AT..HEAD_AT].copy_from_slice(&self.records.to_le_bytes());
        b[HEAD_AT..MAC_AT].copy_from_slice(&self.head);
        let mac = hmac_sha256(audit_key, &[&b[..MAC_AT]]);
        b[MAC_AT..END].copy_from_slice(&mac);
        b
    }

    fn offset(&self) -> usize {
        if self.records.is_multiple_of(2) {
            0
        } else {
            SLOT_LEN
        }
    }
}

/// An open anchor file.
pub(super) struct AnchorFile(File);

impl AnchorFile {
    /// Makes the file, which must not exist.
    pub(super) fn create(
        path: &Path,
        key: &Secret<32>,
        vault: VaultId,
    ) -> Result<Self, VaultError> {
        let none = AuditAnchor {
            records: 0,
            head: [0; 32],
        };
        write_private_new(path, &none.to_file(key, vault)).map_err(|e| VaultError::io(path, &e))?;
        Self::open(path)
    }

    /// Makes the file anew, around an anchor that the caller trusts.
    pub(super) fn renew(
        path: &Path,
        key: &Secret<32>,
        vault: VaultId,
        anchor: AuditAnchor,
    ) -> Result<Self, VaultError> {
        write_atomic(path, &anchor.to_file(key, vault)).map_err(|e| VaultError::io(path, &e))?;
        Self::open(path)
    }

    pub(super) fn open(path: &Path) -> Result<Self, VaultError> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.map(Self).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => missing("is missing"),
            _ => VaultError::io(path, &e),
        })
    }

    pub(super) fn read(&self, key: &Secret<32>, vault: VaultId) -> Result<AuditAnchor, VaultError> {
        let mut bytes = [0; AuditAnchor::FILE_LEN];
        let whole = self.0.read_exact_at(&mut bytes, 0).is_ok()
            && self
                .0
                .metadata()
                .is_ok_and(|m| m.len() == AuditAnchor::FILE_LEN as u64);
        whole
            .then(|| AuditAnchor::parse(&bytes, key, vault))
            .flatten()
            .ok_or_else(|| missing("was altered or cut, or is of another vault"))
    }

    /// Moves the anchor on to records that are committed: so it may lag behind the chain after a
    /// crash, but never runs ahead. Another process may have moved it further. `durable`: not only
    /// against a crash of the process, but of the machine too.
    pub(super) fn advance(
        &self,
        key: &Secret<32>,
        vault: VaultId,
        to: AuditAnchor,
        durable: bool,
    ) -> std::io::Result<()> {
        self.0.lock()?;
        let moved = match self.read(key, vault) {
            Ok(now) if now.records >= to.records => Ok(()),
            _ => self
                .0
                .write_all_at(&to.slot(key, vault), to.offset() as u64),
        };
        self.0.unlock()?;
        moved?;
        if durable {
            within(Part::Sync, || self.0.sync_data())
        } else {
            Ok(())
        }
    }
}

fn missing(what: &str) -> VaultError {
    VaultError::Audit(format!(
        "its anchor (audit.anchor, beside vault.db) {what}, so a cut log or an old vault file would go unseen; put the file back, or accept the loss with `atrest audit reanchor`"
    ))
}
