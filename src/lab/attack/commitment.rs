//! A ciphertext that opens under two keys.
//!
//! AES-GCM allows it: its tag is linear in each block of ciphertext, so one block can be chosen such
//! that the tag is right under two keys at once (Dodis, Grubbs, Ristenpart, Woodage, "Fast message
//! franking: from invisible salamanders to encryptment", CRYPTO 2018). The control makes one. Whoever
//! seals under AES-GCM must therefore commit to the key elsewhere.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ghash::GHash;
use ghash::universal_hash::UniversalHash;

use crate::base::{KeyRef, KeyVersionRef};
use crate::crypto::{
    AeadKey, CipherParameters, EncryptionAlgorithm, KeyEncryptionKey, Secret, WrapAlgorithm,
    random_bytes,
};
use crate::envelope::{Envelope, ResourceKind};
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::resource::{ResourceError, Wrapper};
use crate::vault::{KeyWrapper, VaultError, WrappedKey};

use super::account::{Account, text};
use super::alter::patched;
use super::bout::{Bout, Reading, both_arms};
use super::database::Database;
use super::sql::page_size;
use super::vault::Arm;

/// Where envelopes lie: in both slots of a database's header, and in an account's.
const IN_DATABASE: [u64; 2] = [64, 2112];
const IN_ACCOUNT: [u64; 2] = [16, 784];

/// Attack 26.
pub(in crate::lab) fn two_keys(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let mut evidence = both_arms(lab, exhibit, |arm, dir| match exhibit.kind {
        ResourceKind::Sql => database(dir, arm, exhibit),
        _ => account(dir, arm),
    })?;
    let opened = salamander().map_or(0, |bytes| bytes.len());
    if let Some(control) = &mut evidence.control {
        control.fired &= opened > 0;
        control.summary = match opened {
            0 => "no ciphertext was made that opens under two keys.".to_owned(),
            n => format!(
                "AES-256-GCM alone opened one ciphertext of {n} bytes under two keys, to two plaintexts; what is \
                 unprotected opens under any."
            ),
        };
    }
    let part = "a specimen whose header leads to a second key";
    Ok(vec![Attack::number(26).outcome(
        Some(part),
        exhibit,
        evidence,
    )])
}

fn database(dir: &Path, arm: &Arm, exhibit: &Exhibit) -> Result<Evidence, LabError> {
    let victim = Database::specimen(dir, "committed", arm, page_size(exhibit)?, 26)?;
    let mut bout = Bout::new(&victim.path, "");
    let second = SecondKey::of(&arm.wrapper);
    let with_second = victim.through(second.clone());
    second.answer_with_another();
    bout.record(with_second.read(), None, || {
        "the vault unwraps its key to another one".to_owned()
    });
    if let Some(key) = arm.protection.key() {
        let envelope = second_envelope(&arm.wrapper, key, ResourceKind::Sql, victim.id)?;
        for places in [&IN_DATABASE[..], &IN_DATABASE[..1], &IN_DATABASE[1..]] {
            let patches: Vec<_> = places.iter().map(|at| (*at, &envelope[..])).collect();
            let reading = patched(&victim.path, &patches, || victim.read())?;
            // With one slot altered the other still stands, and leads to the right key.
            let reading = match reading {
                Reading::Data(data) if data == victim.truth && places.len() == 1 => {
                    Reading::Refused("the slot is passed over, the other one counts".to_owned())
                }
                other => other,
            };
            bout.record(reading, None, || {
                "a genuine envelope of a second key in the header".to_owned()
            });
        }
    }
    Ok(bout.finish("second keys offered"))
}

fn account(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let victim = Account::specimen(&dir.join("committed"), arm)?;
    let blob = victim.put("a.txt", text(26, 9000))?;
    let mut bout = Bout::new(&victim.dir, "");
    let second = SecondKey::of(&arm.wrapper);
    let with_second = Account {
        dir: victim.dir.clone(),
        id: victim.id,
        protection: victim.protection.clone(),
        wrapper: second.clone(),
    };
    second.answer_with_another();
    bout.record(with_second.read(&blob), None, || {
        "the vault unwraps its key to another one".to_owned()
    });
    if let Some(key) = arm.protection.key() {
        let header = victim.dir.join("account.atrest");
        let kinds = [ResourceKind::Storage, ResourceKind::StorageCatalog];
        for (kind, at) in kinds.into_iter().zip(IN_ACCOUNT) {
            let envelope = second_envelope(&arm.wrapper, key, kind, victim.id)?;
            let reading = patched(&header, &[(at, &envelope)], || victim.read(&blob))?;
            bout.record(reading, Some(at), || {
                format!("a genuine envelope of a second key for the {kind}")
            });
        }
    }
    Ok(bout.finish("second keys offered"))
}

/// An envelope that is right in itself, of a key that nothing of the resource is sealed under.
fn second_envelope(
    wrapper: &Wrapper,
    key: &KeyRef,
    kind: ResourceKind,
    id: crate::base::ResourceId,
) -> Result<Vec<u8>, LabError> {
    let envelope = Envelope::seal(&**wrapper, key, kind, id, &Secret::random());
    let envelope = envelope.map_err(|e| ResourceError::vault("the lab's vault", &e))?;
    Ok(envelope.to_bytes().to_vec())
}

/// A vault that unwraps as the one below it does, until it is told to give another key.
struct SecondKey {
    below: Wrapper,
    lies: Mutex<bool>,
}

impl SecondKey {
    fn of(wrapper: &Wrapper) -> Arc<Self> {
        Arc::new(Self {
            below: wrapper.clone(),
            lies: Mutex::new(false),
        })
    }

    fn answer_with_another(&self) {
        *self.lies.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl KeyWrapper for SecondKey {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        self.below.wrap_key(key, dek)
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        let right = self.below.unwrap_key(key, algorithm, wrapped)?;
        match *self.lies.lock().unwrap_or_else(PoisonError::into_inner) {
            true => Ok(Secret::random()),
            false => Ok(right),
        }
    }

    fn revision(&self) -> Arc<std::sync::atomic::AtomicU64> {
        self.below.revision()
    }
}

type Block = [u8; 16];

fn xor(a: Block, b: Block) -> Block {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// GHASH of these blocks under the hash key `h` (NIST SP 800-38D, 6.4).
fn ghash(h: Block, blocks: &[Block]) -> Block {
    let mut hash = GHash::new(&h.into());
    blocks
        .iter()
        .for_each(|block| hash.update(&[(*block).into()]));
    hash.finalize().into()
}

/// The product in GCM's field.
fn times(a: Block, b: Block) -> Block {
    ghash(a, &[b])
}

/// The inverse in GCM's field: the power 2^128 - 2.
fn inverse(a: Block) -> Block {
    let mut square = times(a, a);
    let mut product = square;
    for _ in 2..128 {
        square = times(square, square);
        product = times(product, square);
    }
    product
}

/// The hash key and the mask of the tag, for a key and a nonce.
fn parts(bytes: &[u8; 32], nonce: &[u8; 12]) -> Option<(Block, Block)> {
    let key = KeyEncryptionKey::from_oct(bytes).ok()?;
    let with = CipherParameters {
        iv: Some(&[0; 16]),
        ..CipherParameters::default()
    };
    let h = key
        .encrypt(EncryptionAlgorithm::A256Cbc, &[0; 16], with)
        .ok()?;
    // The tag of nothing is the mask alone.
    let mask = AeadKey::new(&Secret::copy_from(bytes)?).seal_in_place(nonce, &[], &mut []);
    Some((h.value.try_into().ok()?, mask))
}

/// A ciphertext of a page's length, when AES-256-GCM opens it under two keys.
fn salamander() -> Option<Vec<u8>> {
    const BLOCKS: usize = 256;
    let (keys, nonce) = (
        [random_bytes::<32>(), random_bytes::<32>()],
        random_bytes::<12>(),
    );
    let mut blocks: Vec<Block> = (0..BLOCKS).map(|_| random_bytes()).collect();
    blocks[BLOCKS - 1] = [0; 16];
    let bits = 8 * 16 * BLOCKS as u128;
    blocks.push(bits.to_be_bytes());
    let [(h1, mask1), (h2, mask2)] = [parts(&keys[0], &nonce)?, parts(&keys[1], &nonce)?];
    let [sum1, sum2] = [h1, h2].map(|h| ghash(h, &blocks));
    let difference = xor(xor(mask1, mask2), xor(sum1, sum2));
    // The last block of ciphertext is multiplied by the square of the hash key.
    let factor = xor(times(h1, h1), times(h2, h2));
    blocks[BLOCKS - 1] = times(difference, inverse(factor));
    let tag = xor(mask1, ghash(h1, &blocks));
    let sealed = blocks[..BLOCKS].concat();
    let opened = keys.map(|bytes| {
        let key = AeadKey::new(&Secret::copy_from(&bytes)?);
        let mut plain = vec![0; sealed.len()];
        key.open(&nonce, &[], &sealed, &tag, &mut plain).ok()?;
        Some(plain)
    });
    let [Some(one), Some(two)] = opened else {
        return None;
    };
    (one != two).then_some(sealed)
}
