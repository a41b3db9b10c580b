//! Envelopes, beside a reader of them that was written from docs/format.md alone.

use std::sync::Arc;

use atrest::base::{KeyRef, KeyVersion, ResourceId, VaultId};
use atrest::crypto::{KeyEncryptionKey, KeyKind};
use atrest::envelope::{Envelope, ResourceKind};

use crate::corpus::{self, Entry};
use crate::files::{FILE, Files, Layout, MAIN, dek};
use crate::key_wrapper::MemoryVault;
use crate::mutate::Aim;
use crate::oracle::Outcome;
use crate::run::Target;

const LEN: usize = Envelope::LEN;
const VAULT: VaultId = VaultId::from_bytes([0x11; 16]);

/// A vault with this many versions of the key.
fn vault(versions: u8) -> (Arc<MemoryVault>, KeyRef) {
    let vault = MemoryVault::with_id(VAULT);
    let keys = (1..=versions).map(|n| {
        let key = KeyEncryptionKey::from_oct(&[n; 32]).unwrap();
        vault.add_version("customer-key", KeyVersion::from_bytes([n; 16]), key)
    });
    let key = keys.collect::<Vec<_>>().pop().unwrap();
    (vault, key)
}

pub fn entries() -> Vec<(&'static str, Entry)> {
    let ((first, key), (second, _)) = (vault(1), vault(2));
    let seal = |vault: &MemoryVault, key: &KeyRef, kind, resource| {
        let sealed = Envelope::seal(vault, key, kind, resource, &dek()).unwrap();
        let files = Files::of_main(sealed.to_bytes().to_vec());
        Entry {
            files,
            ..Entry::default()
        }
    };
    let good = |vault| Entry {
        state: Some(0),
        ..seal(vault, &key, ResourceKind::Sql, FILE)
    };
    let other = ResourceId::from_bytes([3; 16]);
    let rsa = |kind| {
        let vault = MemoryVault::with_id(VAULT);
        let key = KeyEncryptionKey::generate(kind);
        let key = vault.add_version("rsa", KeyVersion::from_bytes([9; 16]), key);
        seal(&vault, &key, ResourceKind::Sql, FILE)
    };
    vec![
        ("version_1", good(&first)),
        ("version_2", good(&second)),
        ("of_another", seal(&second, &key, ResourceKind::Sql, other)),
        (
            "of_an_account",
            seal(&second, &key, ResourceKind::Storage, FILE),
        ),
        ("rsa_2048", rsa(KeyKind::Rsa2048)),
        ("rsa_4096", rsa(KeyKind::Rsa4096)),
    ]
}

fn is_envelope(b: &[u8; LEN]) -> bool {
    let wrapped = usize::from(u16::from_le_bytes([b[12], b[13]]));
    let name = usize::from(b[14]);
    let lens: &[usize] = match b[10] {
        1 => &[256, 384, 512],
        2 => &[40],
        _ => &[],
    };
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
    b[..10] == *b"atrestEN\x01\x00"
        && (1..=3).contains(&b[11])
        && lens.contains(&wrapped)
        && (1..=127).contains(&name)
        && b[64..64 + name].iter().all(is_name)
        && [15..16, 64 + name..192, 192 + wrapped..736]
            .into_iter()
            .all(|zeros| b[zeros].iter().all(|&b| b == 0))
}

fn judge(good: &[Vec<u8>], vault: &MemoryVault, entry: &Entry) -> Result<Outcome, String> {
    let mut bytes = [0; LEN];
    bytes
        .iter_mut()
        .zip(entry.files.main())
        .for_each(|(b, n)| *b = *n);
    let envelope = match (Envelope::parse(&bytes), is_envelope(&bytes)) {
        (Ok(envelope), true) => envelope,
        (Err(_), false) => return Ok(Outcome::NoDatabase),
        (said, _) => return Err(format!("{said:?}")),
    };
    if envelope.to_bytes() != bytes {
        return Err("it parses, and is not what is written of it".to_owned());
    }
    match envelope.open(vault, ResourceKind::Sql, FILE) {
        Err(_) => Ok(Outcome::Refused),
        Ok(key) if !key.ct_eq(&dek()) => Err("another key came out of it".to_owned()),
        Ok(_) if good.iter().any(|good| *good == bytes) => Ok(Outcome::Old),
        Ok(_) => Err("it was altered, and opens".to_owned()),
    }
}

#[test]
fn no_envelope_that_was_altered_gives_a_key_and_each_has_one_form() {
    let good: Vec<_> = corpus::load("envelope")
        .iter()
        .filter(|(_, entry)| entry.state.is_some())
        .map(|(_, entry)| entry.files.main().to_vec())
        .collect();
    let (vault, _) = vault(2);
    let target = Target {
        name: "envelope",
        aim: Aim {
            layout: Layout::Envelope,
            files: &[MAIN],
            within: 0..LEN,
            forge: false,
        },
        share: 20,
        judge: &|entry: &Entry, _: &_| judge(&good, &vault, entry),
    };
    assert!(target.run().contains_key(&Outcome::Refused));
}
