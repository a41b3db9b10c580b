use std::collections::BTreeMap;

use crate::base::{ExtentId, GenerationId, ResourceId};
use crate::crypto::{
    AeadKey, Label, NONCE_LEN, Secret, TAG_LEN, TagMismatch, derive, random_bytes,
};

use super::extent::MAX_EXTENT_LEN;
use super::{BlobPath, BlockId, Snapshot, UnderKey};

// Layout of a sealed manifest (docs/format.md, "Manifest"). Integers are little-endian.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const ALGORITHM_AT: usize = VERSION_AT + 2;
const UNDER_AT: usize = ALGORITHM_AT + 1;
const ZERO_AT: usize = UNDER_AT + 1;
const SALT_AT: usize = ZERO_AT + 4;
const KEY_AT: usize = SALT_AT + SALT_LEN;
const BODY_AT: usize = KEY_AT + KEY_LEN;
const SALT_LEN: usize = 32;
const KEY_LEN: usize = 32;

/// Length of what comes before the body, in bytes.
pub(super) const HEAD_LEN: usize = BODY_AT;

const BLOB_MAGIC: &[u8; 8] = b"atrestBM";
const BLOCK_MAGIC: &[u8; 8] = b"atrestBK";
const SNAPSHOT_MAGIC: &[u8; 8] = b"atrestBS";
const VERSION: u16 = 3;
const AES_256_GCM: u8 = 1;

/// Length of a wrapped generation key (AES key wrap of 256 bits, RFC 3394), in bytes.
const WRAPPED_KEY_LEN: usize = 40;
const GENERATION_LEN: usize = 16 + WRAPPED_KEY_LEN;
/// Without the bytes of its block's identifier.
const EXTENT_LEN: usize = 16 + 4 + 8 + 1;
const MD5_LEN: usize = 16;

/// What a blob is: its metadata, the extents that hold its bytes, in order, and their keys.
/// Extents may be of several generations, so that a blob can be put together from blocks and
/// share them with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The blob's length, in bytes: the sum of its extents'.
    pub size: u64,
    /// When it was put: microseconds since 1970-01-01T00:00:00Z.
    pub created_micros: i64,
    /// The customer's metadata.
    pub metadata: BTreeMap<String, String>,
    /// MD5 of the content, when whoever put it said so.
    pub content_md5: Option<[u8; MD5_LEN]>,
    /// The generations that the extents are of; none in a plain account.
    pub generations: Vec<Generation>,
    /// The extents, in the order of the blob's bytes.
    pub extents: Vec<Extent>,
}

/// A generation in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Which.
    pub id: GenerationId,
    /// Its key, as [`GenerationKey::wrap`] wraps it.
    ///
    /// [`GenerationKey::wrap`]: super::GenerationKey::wrap
    pub wrapped_key: [u8; WRAPPED_KEY_LEN],
}

/// An extent in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which.
    pub id: ExtentId,
    /// Index of its generation in [`Manifest::generations`]; 0 in a plain account.
    pub generation: u32,
    /// Its plaintext bytes.
    pub len: u64,
    /// The block that it is; `None` when the blob was put in one piece.
    pub block: Option<BlockId>,
}

/// What a manifest is sealed for, and opens as nothing else.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A blob.
    Blob(&'a BlobPath),
    /// A block that waits for being committed to a blob. Its manifest lists one extent.
    Block(&'a BlobPath, &'a BlockId),
    /// A blob as it was when a snapshot of it was taken.
    Snapshot(&'a BlobPath, Snapshot),
}

impl Manifest {
    /// Without metadata, digest or generations.
    pub(super) fn new(created_micros: i64, extents: Vec<Extent>) -> Self {
        Self {
            size: extents.iter().map(|e| e.len).sum(),
            created_micros,
            metadata: BTreeMap::new(),
            content_md5: None,
            generations: Vec::new(),
            extents,
        }
    }

    /// The generation of one of its extents; `None` in a plain account.
    pub(super) fn generation_of(&self, extent: &Extent) -> Option<&Generation> {
        self.generations.get(extent.generation as usize)
    }

    /// Its extents, each once.
    pub(super) fn extent_ids(&self) -> Vec<ExtentId> {
        let mut ids: Vec<ExtentId> = self.extents.iter().map(|e| e.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Seals it for `subject` of `account`, in the state `generation`. `key` is the one that `under` names.
    pub fn seal(
        &self,
        key: &Secret<32>,
        under: UnderKey,
        account: ResourceId,
        generation: GenerationId,
        subject: Subject<'_>,
    ) -> Vec<u8> {
        let mut sealed = vec![0; BODY_AT];
        sealed[MAGIC_AT..VERSION_AT].copy_from_slice(subject.magic());
        sealed[VERSION_AT..ALGORITHM_AT].copy_from_slice(&VERSION.to_le_bytes());
        sealed[ALGORITHM_AT] = AES_256_GCM;
        sealed[SALT_AT..KEY_AT].copy_from_slice(&random_bytes::<SALT_LEN>());
        let (code, id) = under.to_bytes();
        sealed[UNDER_AT] = code;
        sealed[KEY_AT..BODY_AT].copy_from_slice(&id);
        let aad = aad(&sealed, account, generation, subject);
        let key = manifest_key(key, account, &sealed[SALT_AT..KEY_AT]);
        sealed.extend_from_slice(&self.to_bytes());
        // The salt is fresh, so the key seals this one message: its nonce may be constant.
        let tag = key.seal_in_place(&[0; NONCE_LEN], &aad, &mut sealed[BODY_AT..]);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what [`Manifest::seal`] gave for the same subject and state.
    ///
    /// # Errors
    /// [`TagMismatch`] for each cause alike: altered, cut, of another subject, account or generation.
    pub fn open(
        sealed: &[u8],
        key: &Secret<32>,
        account: ResourceId,
        generation: GenerationId,
        subject: Subject<'_>,
    ) -> Result<Self, TagMismatch> {
        let body_len = sealed
            .len()
            .checked_sub(BODY_AT + TAG_LEN)
            .ok_or(TagMismatch)?;
        let (head, rest) = sealed.split_at(BODY_AT);
        let constant = head[MAGIC_AT..VERSION_AT] == *subject.magic()
            && head[VERSION_AT..ALGORITHM_AT] == VERSION.to_le_bytes()
            && head[ALGORITHM_AT] == AES_256_GCM
            && head[ZERO_AT..SALT_AT] == [0; SALT_AT - ZERO_AT];
        if !constant || under(head).is_none() {
            return Err(TagMismatch);
        }
        let (body, tag) = rest.split_at(body_len);
        let tag = tag.try_into().expect("a tag has 16 bytes");
        let mut plain = vec![0; body_len];
        manifest_key(key, account, &head[SALT_AT..KEY_AT]).open(
            &[0; NONCE_LEN],
            &aad(head, account, generation, subject),
            body,
            tag,
            &mut plain,
        )?;
        // An authentic body that does not parse is of no writer of this version.
        Self::parse(&plain).ok_or(TagMismatch)
    }

    /// The body: what is sealed, and what a plain account stores.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut b = Vec::new();
        b.extend_from_slice(&self.size.to_le_bytes());
        b.extend_from_slice(&self.created_micros.to_le_bytes());
        put_count(&mut b, self.metadata.len());
        for (name, value) in &self.metadata {
            for text in [name, value] {
                put_count(&mut b, text.len());
                b.extend_from_slice(text.as_bytes());
            }
        }
        put_short(
            &mut b,
            self.content_md5.as_ref().map_or(&[], |md5| &md5[..]),
        );
        put_count(&mut b, self.generations.len());
        for generation in &self.generations {
            b.extend_from_slice(generation.id.as_bytes());
            b.extend_from_slice(&generation.wrapped_key);
        }
        put_count(&mut b, self.extents.len());
        for extent in &self.extents {
            b.extend_from_slice(extent.id.as_bytes());
            b.extend_from_slice(&extent.generation.to_le_bytes());
            b.extend_from_slice(&extent.len.to_le_bytes());
            put_short(&mut b, extent.block.as_ref().map_or(&[], BlockId::as_bytes));
        }
        b
    }

    /// Reads a body, strictly: exactly one sequence of bytes stands for each manifest.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut at = Reader(body);
        let size = u64::from_le_bytes(at.array()?);
        let created_micros = i64::from_le_bytes(at.array()?);
        let mut metadata = BTreeMap::new();
        for _ in 0..at.count(8)? {
            let name = at.text()?;
            if metadata
                .last_key_value()
                .is_some_and(|(last, _)| *last >= name)
            {
                return None;
            }
            metadata.insert(name, at.text()?);
        }
        let content_md5 = match at.short()? {
            [] => None,
            md5 => Some(md5.try_into().ok()?),
        };
        let generations = (0..at.count(GENERATION_LEN)?)
            .map(|_| {
                Some(Generation {
                    id: GenerationId::from_bytes(at.array()?),
                    wrapped_key: at.array()?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let extents = (0..at.count(EXTENT_LEN)?)
            .map(|_| {
                let extent = Extent {
                    id: ExtentId::from_bytes(at.array()?),
                    generation: u32::from_le_bytes(at.array()?),
                    len: u64::from_le_bytes(at.array()?),
                    block: match at.short()? {
                        [] => None,
                        id => Some(BlockId::from_bytes(id)?),
                    },
                };
                let known = (extent.generation as usize) < generations.len().max(1);
                (known && extent.len <= MAX_EXTENT_LEN).then_some(extent)
            })
            .collect::<Option<Vec<_>>>()?;
        let total = extents
            .iter()
            .try_fold(0_u64, |n, e| n.checked_add(e.len))?;
        (total == size && at.0.is_empty()).then_some(Self {
            size,
            created_micros,
            metadata,
            content_md5,
            generations,
            extents,
        })
    }
}

/// Which key a manifest that begins so is under. Not authenticated: with another one its tag does not fit.
/// Those of a plain account begin with a size, which is far less than what the magic would be as a number.
pub(super) fn under(head: &[u8]) -> Option<UnderKey> {
    if !head.starts_with(&BLOB_MAGIC[..7]) {
        return Some(UnderKey::Account);
    }
    let head = head.get(..HEAD_LEN)?;
    UnderKey::parse(head[UNDER_AT], head[KEY_AT..].try_into().ok()?)
}

impl Subject<'_> {
    fn magic(&self) -> &'static [u8; 8] {
        match self {
            Self::Blob(_) => BLOB_MAGIC,
            Self::Block(..) => BLOCK_MAGIC,
            Self::Snapshot(..) => SNAPSHOT_MAGIC,
        }
    }
}

fn put_count(b: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a manifest's parts are far fewer than 2^32");
    b.extend_from_slice(&count.to_le_bytes());
}

/// At most 255 bytes, after their number.
fn put_short(b: &mut Vec<u8>, bytes: &[u8]) {
    b.push(u8::try_from(bytes.len()).expect("a digest or an identifier of a block"));
    b.extend_from_slice(bytes);
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let [len] = self.array()?;
        self.bytes(len.into())
    }

    /// A count of things that take at least `each` bytes, checked against what is left.
    fn count(&mut self, each: usize) -> Option<usize> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        (count <= self.0.len() / each).then_some(count)
    }

    fn text(&mut self) -> Option<String> {
        let len = self.count(1)?;
        String::from_utf8(self.bytes(len)?.to_vec()).ok()
    }
}

fn manifest_key(key: &Secret<32>, account: ResourceId, salt: &[u8]) -> AeadKey {
    let context = [account.as_bytes().as_slice(), salt];
    AeadKey::new(&derive(key, Label::BlobManifest, &context))
}

// Neither a container's name nor a blob's holds a zero byte, so the parts cannot be taken for others;
// and blobs, blocks and snapshots are told apart by the magic, in the head.
fn aad(
    head: &[u8],
    account: ResourceId,
    generation: GenerationId,
    subject: Subject<'_>,
) -> Vec<u8> {
    let (Subject::Blob(path) | Subject::Block(path, _) | Subject::Snapshot(path, _)) = subject;
    let mut aad = head.to_vec();
    aad.extend_from_slice(account.as_bytes());
    aad.extend_from_slice(generation.as_bytes());
    aad.extend_from_slice(path.container.as_str().as_bytes());
    aad.push(0);
    aad.extend_from_slice(path.name.as_str().as_bytes());
    match subject {
        Subject::Blob(_) => {}
        Subject::Block(_, id) => {
            aad.push(0);
            aad.extend_from_slice(id.as_bytes());
        }
        Subject::Snapshot(_, snapshot) => {
            aad.push(0);
            aad.extend_from_slice(&snapshot.micros().to_le_bytes());
        }
    }
    aad
}
