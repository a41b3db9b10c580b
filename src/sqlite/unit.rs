use std::collections::HashMap;
use std::sync::Arc;

use crate::base::sabotage::{Sabotage, broken};
use crate::crypto::{AeadKey, Label, NONCE_LEN, Nonce, Secret, TAG_LEN, derive, random_bytes};

use super::medium::Code;
use super::shared::Shared;
use super::vfs;

/// Length of a unit's trailer: nonce 12, session salt 4, tag 16.
pub(super) const TRAILER_LEN: usize = NONCE_LEN + SALT_LEN + TAG_LEN;
const SALT_LEN: usize = 4;
const AAD_LEN: usize = 32;
const AAD_MAX: usize = AAD_LEN + 12;
/// Associated data; so much of it as [`Place::of`] says.
type Aad = [u8; AAD_MAX];

/// Units that one session seals at most; then it draws a new salt (docs/format.md, "Nonces").
const SESSION_UNITS: u64 = 1 << 32;
/// Keys of sessions that a file keeps at most.
const CACHED_KEYS: usize = 4096;

/// What a unit is; authenticated with it, so that none passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitKind {
    Page = 1,
    WalHeader = 2,
    WalFrameHeader = 3,
    WalPage = 4,
    Journal = 5,
    SuperJournal = 6,
    Temporary = 7,
    Record = 8,
}

impl UnitKind {
    fn label(self) -> Label {
        match self {
            Self::Page | Self::Record => Label::SqlitePage,
            Self::WalHeader | Self::WalFrameHeader | Self::WalPage => Label::SqliteWal,
            Self::Journal | Self::SuperJournal => Label::SqliteJournal,
            Self::Temporary => Label::SqliteTemporary,
        }
    }
}

/// Which sealing of a unit: its nonce and its session's salt, the first bytes of its trailer. No
/// two sealings share one, so for a page it names the version.
pub(super) type UnitId = [u8; ID_LEN];
pub(super) const ID_LEN: usize = NONCE_LEN + SALT_LEN;
/// Of a page that is not sealed: no unit has it.
pub(super) const NO_ID: UnitId = [0; ID_LEN];

/// Bit 0 of a salt's first byte: which data encryption key; it changes with the key.
const PARITY: u8 = 1;
/// Bit 1 of a salt's first byte: a page that a checkpoint copied from the log.
const COPIED: u8 = 2;

/// The identity of a sealed unit; `sealed` ends in its trailer.
pub(super) fn id_of(sealed: &[u8]) -> UnitId {
    let trailer = &sealed[sealed.len() - TRAILER_LEN..];
    trailer[..ID_LEN].try_into().expect("16 bytes")
}

/// The identity that a page of the log gets in the main file: the same nonce under a salt of its
/// own, so that each copy of it is the same page, and no key meets its nonce twice.
pub(super) fn copied(mut id: UnitId) -> UnitId {
    id[NONCE_LEN] |= COPIED;
    id
}

/// Whether units of this kind are left as they are, in a build that is broken on purpose.
fn is_left_plain(kind: UnitKind) -> bool {
    match kind {
        UnitKind::Temporary => broken(Sabotage::PlainTemporary),
        UnitKind::WalHeader | UnitKind::WalFrameHeader => broken(Sabotage::PlainLogHeaders),
        _ => false,
    }
}

/// Where a unit belongs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub kind: UnitKind,
    /// Page number, frame index, chunk index or sequence number.
    pub index: u64,
    /// What else it is bound to, as [`Place::bound_len`] bytes: for a page in the WAL its page
    /// number and the WAL's two salts, for a journal the version that it leads back to.
    pub bound: [u8; 12],
}

impl Place {
    pub(super) fn new(kind: UnitKind, index: u64) -> Self {
        Self {
            kind,
            index,
            bound: [0; 12],
        }
    }

    /// A chunk of a rollback journal that leads back to this version of the file.
    pub(super) fn journal(index: u64, version: u64) -> Self {
        let mut place = Self::new(UnitKind::Journal, index);
        place.bound[..8].copy_from_slice(&version.to_le_bytes());
        place
    }

    fn bound_len(self) -> usize {
        match self.kind {
            UnitKind::WalPage => 12,
            UnitKind::Journal => 8,
            _ => 0,
        }
    }

    /// The part of the associated data that a unit at this place has.
    fn of(self, aad: &Aad) -> &[u8] {
        &aad[..AAD_LEN + self.bound_len()]
    }
}

/// Seals by a key of a session: the trailer, and what it ends.
fn seal_by(
    key: &AeadKey,
    nonce: Nonce,
    salt: [u8; SALT_LEN],
    place: Place,
    aad: &Aad,
    plain: &[u8],
    sealed: &mut [u8],
) {
    let (body, trailer) = sealed.split_at_mut(plain.len());
    let tag = key.seal(&nonce, place.of(aad), plain, body);
    if is_left_plain(place.kind) {
        body.copy_from_slice(plain);
    }
    trailer[..NONCE_LEN].copy_from_slice(&nonce);
    trailer[NONCE_LEN..ID_LEN].copy_from_slice(&salt);
    trailer[ID_LEN..].copy_from_slice(&tag);
}

/// Seals and opens the units of one open file. It caches the keys of the sessions that it has met,
/// and drops them all as soon as the key may not be used any more.
pub(super) struct Units {
    shared: Arc<Shared>,
    generation: (u64, u64),
    parity: u8,
    writer: Option<Writer>,
    last: Option<([u8; SALT_LEN], Arc<AeadKey>)>,
    keys: HashMap<[u8; SALT_LEN], Arc<AeadKey>>,
    /// Of either parity.
    sums: [Option<AeadKey>; 2],
    label: Label,
}

/// A writer's session: a random salt, which gives the key, and a nonce that counts up from a
/// random start. Held in memory only: what is restored, copied or forked draws its own.
struct Writer {
    salt: [u8; SALT_LEN],
    key: Arc<AeadKey>,
    next: u128,
    left: u64,
    process: u32,
}

impl Units {
    /// For a file whose units are of `kind` or of kinds with the same key label.
    pub(super) fn new(shared: Arc<Shared>, kind: UnitKind) -> Self {
        // In this order: what changes meanwhile is taken in by the next check.
        let (changes, parity) = (shared.changes(), shared.facts().parity);
        Self {
            parity,
            generation: (0, changes),
            shared,
            writer: None,
            last: None,
            keys: HashMap::new(),
            sums: [None, None],
            label: kind.label(),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn shared_handle(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Fails when the key may not be used now; keys derived from it are then gone from here.
    pub(super) fn check(&mut self) -> Result<(), Code> {
        match self.shared.check() {
            Ok(generation) if generation == self.generation => Ok(()),
            Ok(generation) => {
                self.drop_keys();
                self.parity = self.shared.facts().parity;
                self.generation = generation;
                Ok(())
            }
            Err(code) => {
                self.drop_keys();
                Err(code)
            }
        }
    }

    /// Seals `plain` into `sealed`, whose last [`TRAILER_LEN`] bytes become the trailer. [`check`]
    /// has been called before.
    ///
    /// [`check`]: Self::check
    pub(super) fn seal(
        &mut self,
        place: Place,
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Code> {
        let aad = self.aad(place, plain.len());
        let (nonce, salt, key) = self.next_nonce()?;
        seal_by(key, nonce, salt, place, &aad, plain, sealed);
        Ok(())
    }

    /// Seals `plain` as it was sealed before, under the identity `id`.
    ///
    /// The caller answers for it that `id` seals these bytes at this place and no others: it
    /// compares them, or the tag, before a byte of `sealed` leaves.
    pub(super) fn seal_again(
        &mut self,
        place: Place,
        id: &UnitId,
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Code> {
        let nonce: Nonce = id[..NONCE_LEN].try_into().expect("12 bytes");
        let salt: [u8; SALT_LEN] = id[NONCE_LEN..].try_into().expect("4 bytes");
        let aad = self.aad(place, plain.len());
        let key = self.session_key(salt)?;
        seal_by(key, nonce, salt, place, &aad, plain, sealed);
        Ok(())
    }

    /// What version `id` of page `page` adds to the sum of the file's pages: a secret number that
    /// nobody without the key can tell or aim at (GMAC, NIST SP 800-38D). A page that is not sealed
    /// (yet), and the one that SQLite never uses, add nothing.
    pub(super) fn summand(&mut self, page: u64, id: &UnitId) -> Result<u128, Code> {
        if *id == NO_ID || page == self.shared.page_size().lock_page() {
            return Ok(0);
        }
        let (nonce, salt) = id.split_at(NONCE_LEN);
        let parity = salt[0] & PARITY;
        if self.sums[usize::from(parity)].is_none() {
            self.sums[usize::from(parity)] = Some(self.derive(parity, Label::SqliteSum, &[])?);
        }
        let key = self.sums[usize::from(parity)].as_ref().expect("just made");
        let mut aad = [0; 8 + SALT_LEN];
        aad[..8].copy_from_slice(&page.to_le_bytes());
        aad[8..].copy_from_slice(salt);
        let nonce = nonce.try_into().expect("12 bytes");
        Ok(u128::from_le_bytes(key.seal(&nonce, &aad, &[], &mut [])))
    }

    /// Whether a unit with this identity is sealed under the newest data encryption key.
    pub(super) fn is_of_newest_key(&self, id: &UnitId) -> bool {
        *id != NO_ID && id[NONCE_LEN] & PARITY == self.parity
    }

    /// Opens `sealed`, trailer included, into `plain`. `false` when the tag does not fit (then
    /// `plain` is zeros). [`check`] has been called before.
    ///
    /// [`check`]: Self::check
    pub(super) fn open(
        &mut self,
        place: Place,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<bool, Code> {
        let aad = self.aad(place, plain.len());
        let (body, trailer) = sealed.split_at(plain.len());
        if is_left_plain(place.kind) {
            plain.copy_from_slice(body);
            return Ok(true);
        }
        let nonce: &Nonce = trailer[..NONCE_LEN].try_into().expect("12 bytes");
        let salt: [u8; SALT_LEN] = trailer[NONCE_LEN..NONCE_LEN + SALT_LEN]
            .try_into()
            .expect("4 bytes");
        let tag = trailer[NONCE_LEN + SALT_LEN..]
            .try_into()
            .expect("16 bytes");
        let copied = match place.kind {
            UnitKind::Page => COPIED,
            _ => 0,
        };
        let known = salt[0] & PARITY == self.parity || self.shared.facts().previous.is_some();
        if !known || salt[0] & COPIED & !copied != 0 {
            plain.fill(0);
            return Ok(false);
        }
        let key = self.session_key(salt)?;
        Ok(key.open(nonce, place.of(&aad), body, tag, plain).is_ok())
    }

    fn aad(&self, place: Place, len: usize) -> Aad {
        let mut aad = [0; AAD_MAX];
        aad[0] = 1;
        aad[1] = 1;
        aad[2] = place.kind as u8;
        aad[3] = self.shared.page_size().log2();
        let len = u32::try_from(len).expect("a unit is at most 64 KiB");
        aad[4..8].copy_from_slice(&len.to_le_bytes());
        if !broken(Sabotage::ResourceNotBound) {
            aad[16..AAD_LEN].copy_from_slice(self.shared.file().as_bytes());
        }
        if !broken(Sabotage::IndexNotBound) {
            aad[8..16].copy_from_slice(&place.index.to_le_bytes());
            aad[AAD_LEN..].copy_from_slice(&place.bound);
        }
        aad
    }

    fn next_nonce(&mut self) -> Result<(Nonce, [u8; SALT_LEN], &AeadKey), Code> {
        // A process that forked carries its parent's counter: it must not go on with it.
        let process = vfs::process();
        if !matches!(&self.writer, Some(w) if w.left > 0 && w.process == process) {
            let random: [u8; SALT_LEN + NONCE_LEN] = match broken(Sabotage::CounterRestarts) {
                true => [0; SALT_LEN + NONCE_LEN],
                false => random_bytes(),
            };
            let mut salt: [u8; SALT_LEN] = random[..SALT_LEN].try_into().expect("4 bytes");
            salt[0] = salt[0] & !(PARITY | COPIED) | self.parity;
            let mut start = [0; 16];
            start[..NONCE_LEN].copy_from_slice(&random[SALT_LEN..]);
            self.writer = Some(Writer {
                salt,
                key: self.session_key(salt)?.clone(),
                next: u128::from_le_bytes(start),
                left: SESSION_UNITS,
                process,
            });
        }
        let writer = self.writer.as_mut().expect("drawn above");
        let nonce = writer.next.to_le_bytes()[..NONCE_LEN]
            .try_into()
            .expect("12 bytes");
        // Counts modulo 2^96: what overflows into the upper bytes is never written.
        if !broken(Sabotage::FixedNonce) {
            writer.next += 1;
        }
        writer.left -= 1;
        Ok((nonce, writer.salt, &writer.key))
    }

    fn session_key(&mut self, salt: [u8; SALT_LEN]) -> Result<&Arc<AeadKey>, Code> {
        if !matches!(&self.last, Some((last, _)) if *last == salt) {
            let key = match self.keys.get(&salt) {
                Some(key) => key.clone(),
                None => {
                    let key = Arc::new(self.derive(salt[0] & PARITY, self.label, &salt)?);
                    if self.keys.len() >= CACHED_KEYS {
                        self.keys.clear();
                    }
                    self.keys.insert(salt, key.clone());
                    key
                }
            };
            self.last = Some((salt, key));
        }
        let (_, key) = self.last.as_ref().expect("it is there, or just came");
        Ok(key)
    }

    /// The key that `label` and the file give with `context`, under the data encryption key of `parity`.
    fn derive(&self, parity: u8, label: Label, context: &[u8]) -> Result<AeadKey, Code> {
        let file = self.shared.file();
        let context: [&[u8]; 2] = [file.as_bytes(), context];
        let mut key = None;
        self.shared.with_key_of(parity, &mut |dek: &Secret<32>| {
            key = Some(AeadKey::new(&derive(dek, label, &context)));
        })?;
        // A unit of a key that is gone by now: as any other that does not open.
        key.ok_or_else(|| {
            let why = "it is sealed under a data encryption key that was changed since";
            self.shared.refuse(Code::UNAUTHENTIC, why)
        })
    }

    fn drop_keys(&mut self) {
        self.writer = None;
        self.last = None;
        self.keys.clear();
        self.sums = [None, None];
    }
}
