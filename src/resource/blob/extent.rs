use crate::base::sabotage::{Sabotage, broken};
use crate::base::{ExtentId, GenerationId, ResourceId};
use crate::crypto::{
    AeadKey, ChaChaKey, KeyEncryptionKey, Label, NONCE_LEN, Nonce, Secret, TAG_LEN, Tag,
    TagMismatch, WrapAlgorithm, derive, random_bytes, random_id, sha256,
};

use super::manifest::Generation;

/// Plaintext bytes of a chunk; only an extent's last chunk holds fewer.
pub const CHUNK_LEN: usize = 1 << CHUNK_LOG2;
const CHUNK_LOG2: u8 = 16;

/// The longest extent: 4 TiB of plaintext. One key then seals 2^38 blocks of AES, which leaves an
/// attacker an advantage below 2^-50 (NIST SP 800-38D's bound on the birthday of blocks).
pub const MAX_EXTENT_LEN: u64 = 1 << 42;

// Layout of an extent's header (docs/format.md, "Extent"). Integers are little-endian.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const ALGORITHM_AT: usize = VERSION_AT + 2;
const CHUNK_LOG2_AT: usize = ALGORITHM_AT + 1;
const ZERO_AT: usize = CHUNK_LOG2_AT + 1;
const ACCOUNT_AT: usize = ZERO_AT + 4;
const EXTENT_AT: usize = ACCOUNT_AT + 16;
const GENERATION_AT: usize = EXTENT_AT + 16;
const SALT_AT: usize = GENERATION_AT + 16;
const COMMITMENT_AT: usize = SALT_AT + SALT_LEN;
const SALT_LEN: usize = 32;

const MAGIC: &[u8; 8] = b"atrestBX";
const VERSION: u16 = 1;
const AES_256_GCM: u8 = 1;
const AES_256_GCM_IN_CHACHA20_POLY1305: u8 = 2;

/// The random key of one generation of a blob. It lives sealed in the manifest, wrapped by a key
/// that is derived from the account key; when the manifest is gone, so is the data.
pub struct GenerationKey {
    id: GenerationId,
    key: Secret<32>,
}

impl GenerationKey {
    /// `key`, of generation `id`.
    pub fn new(id: GenerationId, key: Secret<32>) -> Self {
        Self { id, key }
    }

    /// A new random one.
    pub fn random() -> Self {
        Self::new(random_id(GenerationId::from_bytes), Secret::random())
    }

    /// Which generation it is of.
    pub fn id(&self) -> GenerationId {
        self.id
    }

    /// Wrapped by the key that `account_key` gives for generations of `account`.
    pub fn wrap(&self, account_key: &Secret<32>, account: ResourceId) -> Generation {
        let wrapped = wrapping_key(account_key, account)
            .wrap(&self.key)
            .expect("a 256-bit key wraps");
        Generation {
            id: self.id,
            wrapped_key: wrapped.try_into().expect("A256KW of 32 bytes gives 40"),
        }
    }

    /// Unwraps the key of a generation.
    ///
    /// # Errors
    /// [`TagMismatch`] when it is not of this account or was altered.
    pub fn unwrap(
        generation: &Generation,
        account_key: &Secret<32>,
        account: ResourceId,
    ) -> Result<Self, TagMismatch> {
        let key = wrapping_key(account_key, account)
            .unwrap(WrapAlgorithm::A256Kw, &generation.wrapped_key)
            .map_err(|_| TagMismatch)?;
        Ok(Self::new(generation.id, key))
    }
}

fn wrapping_key(account_key: &Secret<32>, account: ResourceId) -> KeyEncryptionKey {
    let key = derive(account_key, Label::BlobGeneration, &[account.as_bytes()]);
    KeyEncryptionKey::from_oct(key.expose()).expect("the key has 32 bytes")
}

/// The key of an account's infrastructure encryption: a second layer over its extents, under a key of the
/// service's, whoever's key is below. It follows from the catalog key.
pub struct InfrastructureKey(Secret<32>);

impl InfrastructureKey {
    /// That of `account`, whose catalog key this is.
    pub fn of(catalog_key: &Secret<32>, account: ResourceId) -> Self {
        let context = [account.as_bytes().as_slice()];
        Self(derive(catalog_key, Label::BlobInfrastructure, &context))
    }
}

/// How often an extent's bytes are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Once: AES-256-GCM.
    One,
    /// And once more, with ChaCha20-Poly1305.
    Two,
}

impl Layers {
    pub(super) fn with(infrastructure: Option<&InfrastructureKey>) -> Self {
        match infrastructure {
            None => Self::One,
            Some(_) => Self::Two,
        }
    }

    fn algorithm(self) -> u8 {
        match self {
            Self::One => AES_256_GCM,
            Self::Two => AES_256_GCM_IN_CHACHA20_POLY1305,
        }
    }

    /// How much longer a sealed chunk is.
    pub(super) fn overhead(self) -> usize {
        match self {
            Self::One => TAG_LEN,
            Self::Two => 2 * TAG_LEN,
        }
    }

    /// Length of a whole sealed chunk.
    pub(super) fn chunk_len(self) -> usize {
        CHUNK_LEN + self.overhead()
    }

    /// Length of a sealed extent's file that holds `len` bytes (at most [`MAX_EXTENT_LEN`]).
    pub(super) fn sealed_len(self, len: u64) -> u64 {
        ExtentHeader::LEN as u64 + len + chunk_count(len) * self.overhead() as u64
    }

    /// Where the sealed chunk `index` starts in its file.
    pub(super) fn chunk_at(self, index: u64) -> u64 {
        ExtentHeader::LEN as u64 + index * self.chunk_len() as u64
    }
}

/// The first bytes of an extent. Public, and authenticated by every chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentHeader {
    /// The account that it belongs to.
    pub account: ResourceId,
    /// Which extent it is.
    pub extent: ExtentId,
    /// The generation under whose key it is sealed.
    pub generation: GenerationId,
    /// How often it is sealed.
    pub layers: Layers,
    salt: [u8; SALT_LEN],
    commitment: [u8; 32],
}

impl ExtentHeader {
    /// Length, in bytes.
    pub const LEN: usize = COMMITMENT_AT + 32;

    /// The bytes on disk.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut b = [0; Self::LEN];
        b[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        b[VERSION_AT..ALGORITHM_AT].copy_from_slice(&VERSION.to_le_bytes());
        b[ALGORITHM_AT] = self.layers.algorithm();
        b[CHUNK_LOG2_AT] = CHUNK_LOG2;
        b[ACCOUNT_AT..EXTENT_AT].copy_from_slice(self.account.as_bytes());
        b[EXTENT_AT..GENERATION_AT].copy_from_slice(self.extent.as_bytes());
        b[GENERATION_AT..SALT_AT].copy_from_slice(self.generation.as_bytes());
        b[SALT_AT..COMMITMENT_AT].copy_from_slice(&self.salt);
        b[COMMITMENT_AT..].copy_from_slice(&self.commitment);
        b
    }

    /// Reads a header, strictly: exactly one sequence of bytes stands for each header.
    ///
    /// # Errors
    /// [`TagMismatch`], like every other fault of an extent: a header of this version that does
    /// not parse was altered.
    pub fn parse(b: &[u8; Self::LEN]) -> Result<Self, TagMismatch> {
        let id = |at: usize| -> [u8; 16] { b[at..at + 16].try_into().expect("16 bytes") };
        let layers = match b[ALGORITHM_AT] {
            AES_256_GCM_IN_CHACHA20_POLY1305 => Layers::Two,
            _ => Layers::One,
        };
        let header = Self {
            layers,
            account: ResourceId::from_bytes(id(ACCOUNT_AT)),
            extent: ExtentId::from_bytes(id(EXTENT_AT)),
            generation: GenerationId::from_bytes(id(GENERATION_AT)),
            salt: b[SALT_AT..COMMITMENT_AT].try_into().expect("32 bytes"),
            commitment: b[COMMITMENT_AT..].try_into().expect("32 bytes"),
        };
        // The constant fields have one value each, so writing the header again checks them.
        (header.to_bytes() == *b)
            .then_some(header)
            .ok_or(TagMismatch)
    }
}

/// Seals and opens the chunks of one extent.
pub struct ExtentCipher {
    header: ExtentHeader,
    header_hash: [u8; 32],
    key: AeadKey,
    /// The second layer.
    outer: Option<ChaChaKey>,
}

impl ExtentCipher {
    /// For a new extent of `account`, with a fresh salt; sealed twice where there is an infrastructure key.
    pub fn create(
        account: ResourceId,
        extent: ExtentId,
        generation: &GenerationKey,
        infrastructure: Option<&InfrastructureKey>,
    ) -> Self {
        let mut header = ExtentHeader {
            account,
            extent,
            generation: generation.id,
            layers: Layers::with(infrastructure),
            salt: random_bytes(),
            commitment: [0; 32],
        };
        header.commitment = *commitment(&header, generation).expose();
        Self::new(header, generation, infrastructure)
    }

    /// For reading the extent that starts with the bytes `header`, which must be `extent` of
    /// `account`, sealed under the key of `generation`, and under the infrastructure key where one is given, and
    /// only there. The commitment is checked before the key is used.
    ///
    /// # Errors
    /// [`TagMismatch`] for each cause alike.
    pub fn open(
        header: &[u8; ExtentHeader::LEN],
        account: ResourceId,
        extent: ExtentId,
        generation: &GenerationKey,
        infrastructure: Option<&InfrastructureKey>,
    ) -> Result<Self, TagMismatch> {
        let header = ExtentHeader::parse(header)?;
        let expected = (account, extent, generation.id, Layers::with(infrastructure));
        if (
            header.account,
            header.extent,
            header.generation,
            header.layers,
        ) != expected
        {
            return Err(TagMismatch);
        }
        let stored = Secret::copy_from(&header.commitment).expect("32 bytes");
        if !commitment(&header, generation).ct_eq(&stored) {
            return Err(TagMismatch);
        }
        Ok(Self::new(header, generation, infrastructure))
    }

    /// The extent's header.
    pub fn header(&self) -> &ExtentHeader {
        &self.header
    }

    /// How often the extent is sealed.
    pub(super) fn layers(&self) -> Layers {
        self.header.layers
    }

    /// Seals chunk `index` into `sealed`, which is [`TAG_LEN`] bytes longer for each layer. `total` is the
    /// extent's whole plaintext length for the last chunk, and `None` for every other.
    ///
    /// # Panics
    /// When the lengths differ otherwise.
    pub fn seal(&self, index: u64, total: Option<u64>, plain: &[u8], sealed: &mut [u8]) {
        let (nonce, aad, aad_len) = self.unit(index, total);
        let aad = &aad[..aad_len];
        let (body, tags) = sealed.split_at_mut(plain.len());
        tags[..TAG_LEN].copy_from_slice(&self.key.seal(&nonce, aad, plain, body));
        if let Some(outer) = &self.outer {
            let (inner, tag) = sealed.split_at_mut(plain.len() + TAG_LEN);
            tag.copy_from_slice(&outer.seal_in_place(&nonce, aad, inner));
        }
    }

    /// Opens chunk `index` into `plain`, which is [`TAG_LEN`] bytes shorter for each layer. What `sealed` holds
    /// afterwards means nothing.
    ///
    /// # Errors
    /// [`TagMismatch`] when it is not that chunk, unaltered; `plain` is zeroed then.
    ///
    /// # Panics
    /// When the lengths differ otherwise.
    pub fn unseal(
        &self,
        index: u64,
        total: Option<u64>,
        sealed: &mut [u8],
        plain: &mut [u8],
    ) -> Result<(), TagMismatch> {
        let (nonce, aad, aad_len) = self.unit(index, total);
        let aad = &aad[..aad_len];
        let tag_of = |tag: &[u8]| -> Tag { tag.try_into().expect("a tag has 16 bytes") };
        let (inner, outer_tag) = sealed.split_at_mut(plain.len() + TAG_LEN);
        if let Some(outer) = &self.outer
            && let Err(mismatch) = outer.open_in_place(&nonce, aad, inner, &tag_of(outer_tag))
        {
            plain.fill(0);
            return Err(mismatch);
        }
        let (body, tag) = inner.split_at(plain.len());
        self.key.open(&nonce, aad, body, &tag_of(tag), plain)
    }

    fn new(
        header: ExtentHeader,
        generation: &GenerationKey,
        infrastructure: Option<&InfrastructureKey>,
    ) -> Self {
        let key = derive(&generation.key, Label::BlobExtent, &context(&header));
        let outer = infrastructure.map(|infrastructure| {
            let key = derive(&infrastructure.0, Label::BlobOuter, &context(&header));
            ChaChaKey::new(&key)
        });
        Self {
            outer,
            header_hash: sha256(&[&header.to_bytes()]),
            key: AeadKey::new(&key),
            header,
        }
    }

    // The keys of both layers are fresh for each extent (its salt is random), and an index is sealed once, either as
    // the last or not: so (flag, index) never repeats under one key.
    fn unit(&self, index: u64, total: Option<u64>) -> (Nonce, [u8; 40], usize) {
        let index = match broken(Sabotage::IndexNotBound) {
            true => 0,
            false => index,
        };
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&index.to_le_bytes());
        nonce[NONCE_LEN - 1] = u8::from(total.is_some());
        let mut aad = [0; 40];
        aad[..32].copy_from_slice(&self.header_hash);
        match total {
            Some(total) => {
                aad[32..].copy_from_slice(&total.to_le_bytes());
                (nonce, aad, 40)
            }
            None => (nonce, aad, 32),
        }
    }
}

fn context(header: &ExtentHeader) -> [&[u8]; 2] {
    [header.extent.as_bytes(), &header.salt]
}

fn commitment(header: &ExtentHeader, generation: &GenerationKey) -> Secret<32> {
    derive(&generation.key, Label::BlobCommitment, &context(header))
}

/// How many chunks hold `len` bytes: at least one.
pub(super) fn chunk_count(len: u64) -> u64 {
    len.div_ceil(CHUNK_LEN as u64).max(1)
}
