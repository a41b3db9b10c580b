use crate::base::ResourceId;
use crate::crypto::{Label, Secret, derive, hmac_sha256, hmac_verify};

use super::unit::TRAILER_LEN;
use super::{KEY_SLOT_LEN, PageSize};

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
const ZERO_0_AT: usize = FRESHNESS_AT + 1;
const FILE_AT: usize = ZERO_0_AT + 1;
const SEQUENCE_AT: usize = FILE_AT + 16;
const ZERO_1_AT: usize = SEQUENCE_AT + 8;
const KEY_SLOT_AT: usize = ZERO_1_AT + 24;
const ZERO_2_AT: usize = KEY_SLOT_AT + KEY_SLOT_LEN;
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

const MAGIC: &[u8; 8] = b"atrestDB";
const VERSION: u16 = 1;
const AES_256_GCM: u8 = 1;

/// One of the two copies of what a sealed file says of itself.
#[derive(Clone)]
pub(super) struct Slot {
    pub file: ResourceId,
    pub page_size: PageSize,
    /// Whether freshness records are kept.
    pub fresh: bool,
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
        page_size: PageSize,
        fresh: bool,
        sequence: u64,
        key_slot: &[u8; KEY_SLOT_LEN],
        key: &Secret<32>,
    ) -> Self {
        let mut b = [0; SLOT_LEN];
        b[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        b[VERSION_AT..CIPHER_AT].copy_from_slice(&VERSION.to_le_bytes());
        b[CIPHER_AT] = AES_256_GCM;
        b[LOG2_PAGE_AT] = page_size.log2();
        b[RESERVED_AT] = TRAILER_LEN as u8;
        b[FRESHNESS_AT] = u8::from(fresh);
        b[FILE_AT..SEQUENCE_AT].copy_from_slice(file.as_bytes());
        b[SEQUENCE_AT..ZERO_1_AT].copy_from_slice(&sequence.to_le_bytes());
        b[KEY_SLOT_AT..ZERO_2_AT].copy_from_slice(key_slot);
        let mac = hmac_sha256(&mac_key(key, file), &[&b[..RECORDS_AT]]);
        b[MAC_AT..].copy_from_slice(&mac);
        Self {
            file,
            page_size,
            fresh,
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
        let zeros = [
            STATE_AT..FRESHNESS_AT,
            ZERO_0_AT..FILE_AT,
            ZERO_1_AT..KEY_SLOT_AT,
            ZERO_2_AT..RECORDS_AT,
        ];
        if zeros.into_iter().any(|r| b[r].iter().any(|&x| x != 0)) {
            return Err(SlotError::Malformed("reserved bytes are not zero"));
        }
        Ok(Self {
            file: ResourceId::from_bytes(b[FILE_AT..SEQUENCE_AT].try_into().expect("16 bytes")),
            page_size,
            fresh,
            sequence: u64::from_le_bytes(b[SEQUENCE_AT..ZERO_1_AT].try_into().expect("8 bytes")),
            key_slot: b[KEY_SLOT_AT..ZERO_2_AT].try_into().expect("768 bytes"),
            bytes: *b,
        })
    }

    /// Whether it belongs to `file`, is unaltered, and was made with `key`: the commitment to it.
    pub(super) fn is_authentic(&self, file: ResourceId, key: &Secret<32>) -> bool {
        let mac = self.bytes[MAC_AT..].try_into().expect("32 bytes");
        self.file == file && hmac_verify(&mac_key(key, file), &[&self.bytes[..RECORDS_AT]], mac)
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
