/// Length of a key slot: where a sealed file keeps how its key is got (an envelope, or a vault's
/// root key record). Public; authenticated by the header's MAC.
pub const KEY_SLOT_LEN: usize = 768;

/// Where SQLite's locking bytes are, in the main file as SQLite sees it.
const LOCK_BYTES: u64 = 0x4000_0000;

/// Size of a page, in bytes: a power of two from 512 to 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// SQLite's default.
    pub const DEFAULT: Self = Self(4096);

    /// Bytes at the end of each page that SQLite leaves alone, where a page's seal goes.
    pub const RESERVED: u8 = 32;

    /// `None` when `bytes` is no page size.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (512..=65536).contains(&bytes)).then_some(Self(bytes))
    }

    /// In bytes.
    pub fn get(self) -> u32 {
        self.0
    }

    pub(super) fn bytes(self) -> usize {
        self.0 as usize
    }

    pub(super) fn log2(self) -> u8 {
        self.0.trailing_zeros() as u8
    }

    /// The page that holds SQLite's locking bytes, which SQLite never uses, in a database that is
    /// large enough to have it.
    pub(super) fn lock_page(self) -> u64 {
        LOCK_BYTES / u64::from(self.0) + 1
    }

    /// Bytes 16 and 17 of a SQLite header: big-endian, 65536 written as 1.
    pub(super) fn header_field(self) -> [u8; 2] {
        match self.0 {
            65536 => [0, 1],
            size => (size as u16).to_be_bytes(),
        }
    }
}

/// Whether a sealed file keeps a record of which version of it is the newest, and of the sum of its
/// pages: what it takes to notice old pages and old files put back (docs/format.md, "Freshness").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It does not.
    NotKept,
    /// It does.
    Kept,
}
