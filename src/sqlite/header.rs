use crate::base::ResourceId;
use crate::crypto::{
    KeyEncryptionKey, Label, Secret, WrapAlgorithm, derive, hmac_sha256, hmac_verify,
};

use super::unit::TRAILER_LEN;
use super::{Conversion, KEY_SLOT_LEN, PageSize, Succession};

/// Length of the header block, which lies before page 1.
pub(super) const BLOCK_LEN: usize = 4096;

// Layout of a header slot (docs/format.md, "Sealed SQLite file"). Integers are little-endian.
const SLOT_LEN: usize = BLOCK_LEN / 2;
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const CIPHER_AT: usize = VERSION_AT + 2;
const LOG2_PAGE_AT: usize = CIPHER_AT + 1;
const RESERVED_AT: usize = LOG2_PAGE_AT + 1;
const STATE_AT: usize = RESERVED_AT + 1;
const FRESHNESS_AT: usize = STATE_AT + 1;
const PARITY_AT: usize = FRESHNESS_AT + 1;
const FILE_AT: usize = PARITY_AT + 1;
const SEQUENCE_AT: usize = FILE_AT + 16;
const ZERO_1_AT: usize = SEQUENCE_AT + 8;
const KEY_SLOT_AT: usize = ZERO_1_AT + 24;
const PREVIOUS_AT: usize = KEY_SLOT_AT + KEY_SLOT_LEN;
const LINK_AT: usize = PREVIOUS_AT + WRAPPED_LEN;
const ZERO_2_AT: usize = LINK_AT + LINK_LEN;
/// Freshness records lie from here to the MAC; they are not part of the slot.
const RECORDS_AT: usize = SLOT_LEN / 2;
const MAC_AT: usize = SLOT_LEN - 32;

/// Where in the header block the freshness records lie: each in a sector of its own.
pub(super) const RECORD_PLACES: [usize; 4] = [
    RECORDS_AT,
    SLOT_LEN + RECORDS_AT,
    RECORDS_AT + 512,
    SLOT_LEN + RECORDS_AT + 512,
];

/// Where in the header block the slots' sequence numbers are.
pub(super) const SEQUENCE_PLACES: [usize; 2] = [SEQUENCE_AT, SLOT_LEN + SEQUENCE_AT];

/// Length of a wrapped data encryption key (A256KW, RFC 3394).
const WRAPPED_LEN: usize = 40;
const LINK_LEN: usize = 32;

const MAGIC: &[u8; 8] = b"atrestDB";
const VERSION: u16 = 1;
const AES_256_GCM: u8 = 1;

/// What the header says of all units of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub page_size: PageSize,
    /// Whether freshness records are kept.
    pub fresh: bool,
    pub conversion: Conversion,
    /// Bit 0 of the salts of units that the data encryption key seals: it changes with the key.
    pub parity: u8,
    /// While the key is changed: the one before, wrapped by the new one.
    pub previous: Option<[u8; WRAPPED_LEN]>,
    /// Once the key was changed: shows who has the one before that it was its holder who made the
    /// present one. Zeros before.
    pub link: [u8; LINK_LEN],
}

impl Facts {
    /// Of a new file.
    pub(super) fn new(page_size: PageSize, fresh: bool) -> Self {
        Self {
            page_size,
            fresh,
            conversion: Conversion::None,
            parity: 0,
            previous: None,
            link: [0; LINK_LEN],
        }
    }

    /// From now on `new` seals, and what `old` sealed is sealed anew.
    pub(super) fn change_key(&self, file: ResourceId, old: &Secret<32>, new: &Secret<32>) -> Self {
        let wrapped = previous_kek(file, new)
            .wrap(old)
            .expect("a 256-bit key wraps");
        Self {
            conversion: Conversion::KeyChange,
            parity: 1 - self.parity,
            previous: Some(wrapped.try_into().expect("A256KW adds 8 bytes")),
            link: hmac_sha256(&link_key(file, old), &[&link_name(file, new)]),
            ..self.clone()
        }
    }

    /// Whether `new` took the place of `old`.
    pub(super) fn links(&self, file: ResourceId, old: &Secret<32>, new: &Secret<32>) -> bool {
        hmac_verify(&link_key(file, old), &[&link_name(file, new)], &self.link)
    }

    /// The data encryption key before `key`; `None` when there is none, or `key` is not the file's.
    pub(super) fn previous_key(&self, file: ResourceId, key: &Secret<32>) -> Option<Secret<32>> {
        let wrapped = self.previous.as_ref()?;
        let unwrapped = previous_kek(file, key).unwrap(WrapAlgorithm::A256Kw, wrapped);
        unwrapped.ok()
    }
}

fn previous_kek(file: ResourceId, key: &Secret<32>) -> KeyEncryptionKey {
    let kek = derive(key, Label::SqlitePrevious, &[file.as_bytes()]);
    KeyEncryptionKey::from_oct(kek.expose()).expect("32 bytes")
}

fn link_key(file: ResourceId, key: &Secret<32>) -> Secret<32> {
    derive(key, Label::SqliteLink, &[file.as_bytes()])
}

/// Stands for a key, and tells nothing of it.
fn link_name(file: ResourceId, key: &Secret<32>) -> [u8; LINK_LEN] {
    hmac_sha256(&link_key(file, key), &[])
}

/// One of the two copies of what a sealed file says of itself.
#[derive(Clone)]
pub(super) struct Slot {
    pub file: ResourceId,
    pub facts: Facts,
    pub sequence: u64,
    pub key_slot: [u8; KEY_SLOT_LEN],
    bytes: [u8; SLOT_LEN],
}

/// Why bytes are no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotError {
    /// Nothing of ours.
    NotSealed,
    /// Of a newer version.
    Newer(u16),
    /// A field that no writer writes.
    Malformed(&'static str),
}

impl Slot {
    /// A slot whose MAC is made with `key`.
    pub(super) fn new(
        file: ResourceId,
        facts: &Facts,
        sequence: u64,
        key_slot: &[u8; KEY_SLOT_LEN],
        key: &Secret<32>,
    ) -> Self {
        let mut b = [0; SLOT_LEN];
        b[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        b[VERSION_AT..CIPHER_AT].copy_from_slice(&VERSION.to_le_bytes());
        b[CIPHER_AT] = AES_256_GCM;
        b[LOG2_PAGE_AT] = facts.page_size.log2();
        b[RESERVED_AT] = TRAILER_LEN as u8;
        b[STATE_AT] = facts.conversion as u8;
        b[FRESHNESS_AT] = u8::from(facts.fresh);
        b[PARITY_AT] = facts.parity;
        b[FILE_AT..SEQUENCE_AT].copy_from_slice(file.as_bytes());
        b[SEQUENCE_AT..ZERO_1_AT].copy_from_slice(&sequence.to_le_bytes());
        b[KEY_SLOT_AT..PREVIOUS_AT].copy_from_slice(key_slot);
        if let Some(previous) = &facts.previous {
            b[PREVIOUS_AT..LINK_AT].copy_from_slice(previous);
        }
        b[LINK_AT..ZERO_2_AT].copy_from_slice(&facts.link);
        let mac = hmac_sha256(&mac_key(key, file), &[&b[..RECORDS_AT]]);
        b[MAC_AT..].copy_from_slice(&mac);
        Self {
            file,
            facts: facts.clone(),
            sequence,
            key_slot: *key_slot,
            bytes: b,
        }
    }

    /// Reads a slot strictly. What it says is not yet authentic: [`Slot::is_authentic`].
    fn parse(b: &[u8; SLOT_LEN]) -> Result<Self, SlotError> {
        if b[MAGIC_AT..VERSION_AT] != *MAGIC {
            return Err(SlotError::NotSealed);
        }
        match u16::from_le_bytes([b[VERSION_AT], b[VERSION_AT + 1]]) {
            VERSION => (),
            0 => return Err(SlotError::Malformed("version")),
            newer => return Err(SlotError::Newer(newer)),
        }
        if b[CIPHER_AT] != AES_256_GCM {
            return Err(SlotError::Malformed("cipher"));
        }
        let page_size = 1u32.checked_shl(b[LOG2_PAGE_AT].into());
        let page_size = page_size
            .and_then(PageSize::new)
            .ok_or(SlotError::Malformed("page size"))?;
        if usize::from(b[RESERVED_AT]) != TRAILER_LEN {
            return Err(SlotError::Malformed("reserved bytes of a page"));
        }
        let fresh = match b[FRESHNESS_AT] {
            0 => false,
            1 => true,
            _ => return Err(SlotError::Malformed("freshness")),
        };
        let conversion = Conversion::from_byte(b[STATE_AT]).ok_or(SlotError::Malformed("state"))?;
        let parity = match b[PARITY_AT] {
            parity @ (0 | 1) => parity,
            _ => return Err(SlotError::Malformed("parity")),
        };
        let previous: [u8; WRAPPED_LEN] = b[PREVIOUS_AT..LINK_AT].try_into().expect("40 bytes");
        let previous = Some(previous).filter(|wrapped| *wrapped != [0; WRAPPED_LEN]);
        if previous.is_some() != (conversion == Conversion::KeyChange) {
            return Err(SlotError::Malformed("previous key"));
        }
        let zeros = [ZERO_1_AT..KEY_SLOT_AT, ZERO_2_AT..RECORDS_AT];
        if zeros.into_iter().any(|r| b[r].iter().any(|&x| x != 0)) {
            return Err(SlotError::Malformed("reserved bytes are not zero"));
        }
        Ok(Self {
            file: ResourceId::from_bytes(b[FILE_AT..SEQUENCE_AT].try_into().expect("16 bytes")),
            facts: Facts {
                page_size,
                fresh,
                conversion,
                parity,
                previous,
                link: b[LINK_AT..ZERO_2_AT].try_into().expect("32 bytes"),
            },
            sequence: u64::from_le_bytes(b[SEQUENCE_AT..ZERO_1_AT].try_into().expect("8 bytes")),
            key_slot: b[KEY_SLOT_AT..PREVIOUS_AT].try_into().expect("768 bytes"),
            bytes: *b,
        })
    }

    /// Whether it belongs to `file`, is unaltered, and was made with `key`: the commitment to it.
    pub(super) fn is_authentic(&self, file: ResourceId, key: &Secret<32>) -> bool {
        let mac = self.bytes[MAC_AT..].try_into().expect("32 bytes");
        self.file == file && hmac_verify(&mac_key(key, file), &[&self.bytes[..RECORDS_AT]], mac)
    }
}

/// Of a slot of the file that is expected: that it says it is that one is under its MAC.
impl Succession for Slot {
    fn before(&self, new: &Secret<32>) -> Option<Secret<32>> {
        let ours = self.is_authentic(self.file, new);
        ours.then(|| self.facts.previous_key(self.file, new))?
    }

    fn links(&self, old: &Secret<32>, new: &Secret<32>) -> bool {
        self.is_authentic(self.file, new) && self.facts.links(self.file, old, new)
    }
}

/// The slots of a header block that parse, newest first, each with its position (0 or 1).
pub(super) fn parse_block(block: &[u8; BLOCK_LEN]) -> Result<Vec<(usize, Slot)>, SlotError> {
    let (halves, _) = block.as_chunks::<SLOT_LEN>();
    let parsed: Vec<_> = halves.iter().map(Slot::parse).collect();
    let mut slots: Vec<(usize, Slot)> = (0..).zip(&parsed).filter_map(valid).collect();
    slots.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.sequence));
    match parsed.into_iter().find_map(Result::err) {
        Some(error) if slots.is_empty() => Err(error),
        _ => Ok(slots),
    }
}

fn valid((at, slot): (usize, &Result<Slot, SlotError>)) -> Option<(usize, Slot)> {
    slot.as_ref().ok().map(|slot| (at, slot.clone()))
}

/// A header block whose halves are these two slots.
pub(super) fn block(first: &Slot, second: &Slot) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[..SLOT_LEN].copy_from_slice(&first.bytes);
    block[SLOT_LEN..].copy_from_slice(&second.bytes);
    block
}

/// The bytes of a slot, and where in the file they go: around the freshness records, which
/// another process may be writing.
pub(super) fn placed(slot: &Slot, position: usize) -> [(&[u8], u64); 2] {
    let at = (position * SLOT_LEN) as u64;
    [
        (&slot.bytes[..RECORDS_AT], at),
        (&slot.bytes[MAC_AT..], at + MAC_AT as u64),
    ]
}

fn mac_key(key: &Secret<32>, file: ResourceId) -> Secret<32> {
    derive(key, Label::SqliteHeader, &[file.as_bytes()])
}
