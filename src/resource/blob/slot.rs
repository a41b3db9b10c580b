//! Where an extent lies, by its identifier: in a file of its own, or in a slot of a pack (docs/format.md, "Pack").

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use crate::base::ExtentId;
use crate::crypto::random_bytes;

/// Slots begin where such a unit does: what a file system gives back is at least as long.
pub(super) const UNIT: u64 = 4096;
/// Length of a pack, at most. A longer one would be given back later.
pub(super) const PACK_LEN: u64 = 64 << 20;
/// Bits of an extent's identifier that say how many units it has.
const COUNT_BITS: u32 = 5;
/// Units of a slot, at most.
pub(super) const UNITS_MAX: u64 = 1 << COUNT_BITS;
/// In the first byte of the identifier of an extent that lies in a pack.
const IN_PACK: u8 = 0x80;

/// Which pack, by the first 12 bytes of the identifiers of all its extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackId([u8; 12]);

impl PackId {
    pub(super) fn random() -> Self {
        let mut id: [u8; 12] = random_bytes();
        id[0] |= IN_PACK;
        Self(id)
    }

    /// The least and the greatest identifier that an extent in it can have.
    pub(super) fn bounds(self) -> (ExtentId, ExtentId) {
        (self.extent(0), self.extent(u32::MAX))
    }

    fn extent(self, place: u32) -> ExtentId {
        let mut id = [0; 16];
        id[..12].copy_from_slice(&self.0);
        id[12..].copy_from_slice(&place.to_be_bytes());
        ExtentId::from_bytes(id)
    }
}

/// 24 hexadecimal digits: the name of its file.
impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for PackId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut id = [0; 12];
        hex::decode_to_slice(text, &mut id).map_err(|_| ())?;
        let id = Self(id);
        (id.0[0] & IN_PACK != 0 && id.to_string() == text)
            .then_some(id)
            .ok_or(())
    }
}

/// Where in which pack an extent lies. Its identifier says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The pack.
    pub pack: PackId,
    first: u32,
    units: u32,
}

impl Slot {
    /// Bytes before the extent's: its identifier, and how many it has.
    pub const HEAD_LEN: usize = 24;

    /// The `units` from the unit `first` on.
    pub(super) fn new(pack: PackId, first: u64, units: u64) -> Self {
        Self {
            pack,
            first: u32::try_from(first).expect("a pack is short"),
            units: u32::try_from(units).expect("a slot is short"),
        }
    }

    /// Where the extent lies; `None` when it has a file of its own.
    pub fn of(extent: ExtentId) -> Option<Self> {
        let id = extent.as_bytes();
        let (pack, place) = id.split_first_chunk()?;
        let place = u32::from_be_bytes(place.try_into().ok()?);
        (id[0] & IN_PACK != 0).then_some(Self {
            pack: PackId(*pack),
            first: place >> COUNT_BITS,
            units: (place & ((1 << COUNT_BITS) - 1)) + 1,
        })
    }

    /// The extent that lies there.
    pub fn extent(self) -> ExtentId {
        self.pack
            .extent(self.first << COUNT_BITS | (self.units - 1))
    }

    /// The bytes of the pack that are its.
    pub fn range(self) -> Range<u64> {
        let first = u64::from(self.first) * UNIT;
        first..first + u64::from(self.units) * UNIT
    }

    /// What its bytes begin with when the extent has `len`.
    pub fn head(self, len: u64) -> [u8; Self::HEAD_LEN] {
        let mut head = [0; Self::HEAD_LEN];
        head[..16].copy_from_slice(self.extent().as_bytes());
        head[16..].copy_from_slice(&len.to_le_bytes());
        head
    }

    /// Where the extent's bytes are in the pack, by the head; `None` when it is not this one's.
    pub fn parse(self, head: &[u8; Self::HEAD_LEN]) -> Option<Range<u64>> {
        let (id, len) = head.split_first_chunk()?;
        let len = u64::from_le_bytes(len.try_into().ok()?);
        let Range { start, end } = self.range();
        let start = start + Self::HEAD_LEN as u64;
        let fits = len <= end - start && end <= PACK_LEN;
        let is_its = ExtentId::from_bytes(*id) == self.extent() && fits;
        is_its.then(|| start..start + len)
    }
}

/// An identifier that says that its extent has a file of its own.
pub(super) fn extent_in_a_file() -> ExtentId {
    let mut id: [u8; 16] = random_bytes();
    id[0] &= !IN_PACK;
    ExtentId::from_bytes(id)
}

/// The extents that lie in a file of the directory of extents, by its name and the bytes it has: where in it.
pub fn extents_in(path: &Path) -> io::Result<Vec<(ExtentId, Range<u64>)>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        return Ok(Vec::new());
    };
    if let Ok(extent) = name.parse::<ExtentId>() {
        let len = path.metadata()?.len();
        return Ok(vec![(extent, 0..len)]);
    }
    let Ok(pack) = name.parse::<PackId>() else {
        return Ok(Vec::new());
    };
    let file = File::open(path)?;
    let (mut at, len) = (0, file.metadata()?.len().min(PACK_LEN));
    let mut found = Vec::new();
    while at + Slot::HEAD_LEN as u64 <= len {
        let mut head = [0; Slot::HEAD_LEN];
        FileExt::read_exact_at(&file, &mut head, at)?;
        let slot = head.first_chunk().and_then(|id| {
            let slot = Slot::of(ExtentId::from_bytes(*id))?;
            (slot.pack == pack && slot.range().start == at).then_some(slot)
        });
        let bytes = slot.and_then(|slot| Some((slot, slot.parse(&head)?)));
        match bytes {
            Some((slot, bytes)) if bytes.end <= len => {
                found.push((slot.extent(), bytes));
                at = slot.range().end;
            }
            _ => at += UNIT,
        }
    }
    Ok(found)
}
