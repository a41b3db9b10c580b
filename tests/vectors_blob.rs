//! The formats of a storage account (docs/format.md), against vectors that a second writer made:
//! the generator below follows the document and uses nothing of the library but primitives.

#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::fs;
use std::path::Path;

use atrest::base::{ExtentId, GenerationId, KeyVersion, ResourceId, VaultId};
use atrest::crypto::{
    AeadKey, ChaChaKey, KeyEncryptionKey, Label, Secret, derive, derive_from_both, sha256,
};
use atrest::envelope::{Envelope, ResourceKind};
use atrest::resource::ResourceError;
use atrest::resource::blob::{
    AccountHeader, BlobName, BlobPath, BlockId, Extent, ExtentReader, GenerationKey,
    InfrastructureKey, Manifest, Slot, Snapshot, Subject,
};
use common::Vector;
use key_wrapper::MemoryVault;

#[test]
fn every_vector_is_answered_as_it_says() {
    for vector in common::vectors("blob") {
        let answer = match vector.get("what") {
            "header" => header(&vector),
            "manifest" => manifest(&vector),
            "extent" => extent(&vector),
            "slot" => slot(&vector),
            other => panic!("{}: what is {other}", vector.name),
        };
        assert_eq!(answer, vector.get("expect"), "{}", vector.name);
    }
}

fn header(vector: &Vector) -> &'static str {
    let Ok(header) = AccountHeader::parse(&vector.body) else {
        return "format";
    };
    assert_eq!(header.to_bytes()[..], vector.body, "{}", vector.name);
    let id = ResourceId::from_bytes(array(&vector.hex("account")));
    let vault = vault(&vector.hex("key-encryption-key"));
    let account = header.account.open(&*vault, ResourceKind::Storage, id);
    let catalog = header
        .catalog
        .open(&*vault, ResourceKind::StorageCatalog, id);
    match (account, catalog) {
        (Ok(account), Ok(catalog)) => {
            assert_eq!(account.expose()[..], vector.hex("account-key"));
            assert_eq!(catalog.expose()[..], vector.hex("catalog-key"));
            "success"
        }
        _ => "unauthentic",
    }
}

fn manifest(vector: &Vector) -> &'static str {
    let path = BlobPath {
        container: vector.get("container").parse().unwrap(),
        name: BlobName::parse(vector.get("name")).unwrap(),
    };
    let block = BlockId::from_bytes(&vector.hex("block"));
    let snapshot = vector.hex("snapshot");
    let subject = match &block {
        None if !snapshot.is_empty() => {
            let micros = i64::from_le_bytes(array(&snapshot));
            Subject::Snapshot(&path, Snapshot::from_micros(micros).unwrap())
        }
        None => Subject::Blob(&path),
        Some(id) => Subject::Block(&path, id),
    };
    let account = ResourceId::from_bytes(array(&vector.hex("account")));
    let mut key = Secret::copy_from(&vector.hex("account-key")).unwrap();
    if let Some(provided) = Secret::copy_from(&vector.hex("provided-key")) {
        let context = [account.as_bytes().as_slice()];
        key = derive_from_both(&key, &provided, Label::BlobProvided, &context);
    }
    let opened = Manifest::open(
        &vector.body,
        &key,
        account,
        GenerationId::from_bytes(array(&vector.hex("generation"))),
        subject,
    );
    let Ok(manifest) = opened else {
        return "unauthentic";
    };
    assert_eq!(manifest.to_bytes(), vector.hex("plain"), "{}", vector.name);
    "success"
}

/// The body is the head of a slot.
fn slot(vector: &Vector) -> &'static str {
    let id = ExtentId::from_bytes(array(&vector.hex("extent")));
    let Some(slot) = Slot::of(id) else {
        return "file";
    };
    assert_eq!(slot.extent(), id, "{}", vector.name);
    let Some(bytes) = slot.parse(&array(&vector.body)) else {
        return "unauthentic";
    };
    let place = format!("{} {} to {}", slot.pack, bytes.start, bytes.end);
    assert_eq!(place, vector.get("place"), "{}", vector.name);
    assert_eq!(slot.head(bytes.end - bytes.start)[..], vector.body);
    "success"
}

fn extent(vector: &Vector) -> &'static str {
    let generation = GenerationKey::new(
        GenerationId::from_bytes(array(&vector.hex("generation"))),
        Secret::copy_from(&vector.hex("generation-key")).unwrap(),
    );
    let account = ResourceId::from_bytes(array(&vector.hex("account")));
    let extent = Extent {
        id: ExtentId::from_bytes(array(&vector.hex("extent"))),
        generation: 0,
        len: vector.get("length").parse().unwrap(),
        block: None,
    };
    let infrastructure = vector.find("catalog-key").map(|_| {
        let key = Secret::copy_from(&vector.hex("catalog-key")).unwrap();
        InfrastructureKey::of(&key, account)
    });
    let temp = tempfile::NamedTempFile::new().unwrap();
    fs::write(temp.path(), &vector.body).unwrap();
    let mut plain = Vec::new();
    let read = ExtentReader::open(
        temp.as_file(),
        temp.path(),
        account,
        &extent,
        Some(&generation),
        infrastructure.as_ref(),
    )
    .and_then(|reader| reader.read(0..extent.len, &mut plain, &|| Ok(()), &mut |_| ()));
    match read {
        Ok(()) => {
            assert_eq!(sha256(&[&plain])[..], vector.hex("plain-sha256"));
            "success"
        }
        Err(ResourceError::Unauthentic { .. }) => "unauthentic",
        Err(other) => panic!("{}: {other}", vector.name),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}

fn vault(key: &[u8]) -> std::sync::Arc<MemoryVault> {
    let vault = MemoryVault::with_id(VaultId::from_bytes([0xaa; 16]));
    let version = KeyVersion::from_bytes([0xbb; 16]);
    for name in ["customer", "service"] {
        vault.add_version(name, version, KeyEncryptionKey::from_oct(key).unwrap());
    }
    vault
}

// The second writer.

const ACCOUNT: [u8; 16] = [0x11; 16];
const GENERATION: [u8; 16] = [0x22; 16];
const EXTENT: [u8; 16] = [0x33; 16];
const SALT: [u8; 32] = [0x44; 32];
const ACCOUNT_KEY: [u8; 32] = [0x55; 32];
const GENERATION_KEY: [u8; 32] = [0x66; 32];
const CATALOG_KEY: [u8; 32] = [0x77; 32];
const KEK: [u8; 32] = [0x88; 32];
const PROVIDED: [u8; 32] = [0x99; 32];
const NAME: &str = "invoices/2026/07.pdf";
const CONTAINER: &str = "reports";
const BLOCK: &[u8] = b"block-01";
const SNAPSHOT: i64 = 1_767_225_601_000_000;

fn write(name: &str, fields: &[(&str, String)], body: &[u8]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/blob");
    fs::create_dir_all(&dir).unwrap();
    let head: String = fields.iter().map(|(k, v)| format!("{k}: {v}\n")).collect();
    let digits = hex::encode(body);
    let lines: Vec<&str> = (0..digits.len())
        .step_by(96)
        .map(|at| &digits[at..digits.len().min(at + 96)])
        .collect();
    let text = format!("{head}\n{}\n", lines.join("\n"));
    fs::write(dir.join(name.to_owned() + ".txt"), text).unwrap();
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
#[ignore = "writes tests/vectors/blob anew"]
fn generate() {
    generate_headers();
    generate_manifests();
    generate_extents();
    generate_slots();
}

fn generate_headers() {
    let vault = vault(&KEK);
    let header = |account: [u8; 16]| {
        let envelope = |name: &str, kind, key: &[u8; 32]| {
            let key_ref = atrest::base::KeyRef {
                vault: VaultId::from_bytes([0xaa; 16]),
                name: name.parse().unwrap(),
            };
            let id = ResourceId::from_bytes(account);
            let key = Secret::copy_from(key).unwrap();
            let envelope = Envelope::seal(&*vault, &key_ref, kind, id, &key);
            envelope.unwrap().to_bytes().to_vec()
        };
        [
            b"atrestBA\x01\0\0\0\0\0\0\0".to_vec(),
            envelope("customer", ResourceKind::Storage, &ACCOUNT_KEY),
            envelope("service", ResourceKind::StorageCatalog, &CATALOG_KEY),
        ]
    };
    let good = header(ACCOUNT).concat();
    let [head, account, catalog] = header(ACCOUNT);
    let versioned = |v: u8| [&good[..8], &[v, 0], &good[10..]].concat();
    let vectors = [
        ("header", "success", good.clone()),
        ("header_cut", "format", good[..good.len() - 1].to_vec()),
        ("header_extended", "format", [&good[..], &[0]].concat()),
        ("header_magic", "format", flipped(&good, 7)),
        ("header_version_0", "format", versioned(0)),
        ("header_version_2", "format", versioned(2)),
        ("header_reserved", "format", flipped(&good, 15)),
        ("header_envelope_magic", "format", flipped(&good, 16)),
        (
            "header_envelopes_exchanged",
            "unauthentic",
            [head, catalog, account].concat(),
        ),
        (
            "header_other_account",
            "unauthentic",
            header([0x99; 16]).concat(),
        ),
        // The wrapped key lies at 206 of the envelope.
        (
            "header_envelope_altered",
            "unauthentic",
            flipped(&good, 16 + 206),
        ),
    ];
    for (name, expect, body) in vectors {
        let fields = [
            ("expect", expect.to_owned()),
            ("what", "header".to_owned()),
            ("account", hex::encode(ACCOUNT)),
            ("key-encryption-key", hex::encode(KEK)),
            ("account-key", hex::encode(ACCOUNT_KEY)),
            ("catalog-key", hex::encode(CATALOG_KEY)),
        ];
        write(name, &fields, &body);
    }
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text].concat()
}

struct Body {
    size: u64,
    metadata: Vec<[&'static [u8]; 2]>,
    md5: Vec<u8>,
    generations: Vec<Vec<u8>>,
    extents: Vec<(u32, u64, Vec<u8>)>,
}

/// The account key; together with the one that a client gives.
fn key(provided: bool) -> Secret<32> {
    let key = Secret::copy_from(&ACCOUNT_KEY).unwrap();
    let given = Secret::copy_from(&PROVIDED).unwrap();
    match provided {
        false => key,
        true => derive_from_both(&key, &given, Label::BlobProvided, &[&ACCOUNT]),
    }
}

impl Body {
    fn good() -> Self {
        Self::under(&key(false))
    }

    fn under(key: &Secret<32>) -> Self {
        let kek = derive(key, Label::BlobGeneration, &[&ACCOUNT]);
        let wrapped = KeyEncryptionKey::from_oct(kek.expose())
            .unwrap()
            .wrap(&Secret::copy_from(&GENERATION_KEY).unwrap())
            .unwrap();
        Self {
            size: 65_536 + 5,
            metadata: vec![[b"city", "Köln".as_bytes()], [b"year", b"2026"]],
            md5: vec![0xab; 16],
            generations: vec![[&GENERATION[..], &wrapped].concat()],
            extents: vec![(0, 65_536, BLOCK.to_vec()), (0, 5, vec![])],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let count = |n: usize| (n as u32).to_le_bytes().to_vec();
        let mut b = self.size.to_le_bytes().to_vec();
        b.extend(1_767_225_600_000_000_i64.to_le_bytes());
        b.extend(count(self.metadata.len()));
        for [name, value] in &self.metadata {
            b.extend(text(name));
            b.extend(text(value));
        }
        b.push(self.md5.len() as u8);
        b.extend(&self.md5);
        b.extend(count(self.generations.len()));
        self.generations.iter().for_each(|g| b.extend(g));
        b.extend(count(self.extents.len()));
        for (n, (generation, len, block)) in (0_u8..).zip(&self.extents) {
            b.extend([n; 16]);
            b.extend(generation.to_le_bytes());
            b.extend(len.to_le_bytes());
            b.push(block.len() as u8);
            b.extend(block);
        }
        b
    }
}

fn sealed_manifest(head: &[u8], body: &[u8]) -> Vec<u8> {
    sealed_for(
        &key(false),
        head,
        &format!("{CONTAINER}\0{NAME}"),
        b"",
        body,
    )
}

fn sealed_for(key: &Secret<32>, head: &[u8], path: &str, block: &[u8], body: &[u8]) -> Vec<u8> {
    let key = derive(key, Label::BlobManifest, &[&ACCOUNT, &head[16..48]]);
    let mut aad = [head, &ACCOUNT, &GENERATION, path.as_bytes()].concat();
    if !block.is_empty() {
        aad.push(0);
        aad.extend(block);
    }
    let mut sealed = body.to_vec();
    let tag = AeadKey::new(&key).seal_in_place(&[0; 12], &aad, &mut sealed);
    [head, &sealed, &tag].concat()
}

fn generate_manifests() {
    let head = [&b"atrestBM\x03\0\x01\0\0\0\0\0"[..], &SALT, &[0; 32]].concat();
    let plain = Body::good().bytes();
    let good = sealed_manifest(&head, &plain);
    let headed = |at: usize, to: u8| {
        let mut head = head.clone();
        head[at] = to;
        sealed_manifest(&head, &plain)
    };
    let body = |change: fn(&mut Body)| {
        let mut body = Body::good();
        change(&mut body);
        sealed_manifest(&head, &body.bytes())
    };
    let block_head = [&b"atrestBK"[..], &head[8..]].concat();
    let path = format!("{CONTAINER}\0{NAME}");
    let block = sealed_for(&key(false), &block_head, &path, BLOCK, &plain);
    let given = key(true);
    let given_plain = Body::under(&given).bytes();
    let mut given_head = head.clone();
    given_head[11] = 1;
    given_head[48..].copy_from_slice(&sha256(&[&PROVIDED]));
    let provided = sealed_for(&given, &given_head, &path, b"", &given_plain);
    // The key is the scope's: its own, not the account's.
    let scoped_head = |more: u8| {
        let mut scoped_head = head.clone();
        scoped_head[11] = 2;
        scoped_head[48..64].fill(0x5c);
        scoped_head[64] = more;
        scoped_head
    };
    let scoped = sealed_for(&key(false), &scoped_head(0), &path, b"", &plain);
    let with_more = sealed_for(&key(false), &scoped_head(1), &path, b"", &plain);
    // What one gets who lets go of the key that is given.
    let without = [&head[..], &provided[80..]].concat();
    let snapshot_head = [&b"atrestBS"[..], &head[8..]].concat();
    let snapshot = sealed_for(
        &key(false),
        &snapshot_head,
        &path,
        &SNAPSHOT.to_le_bytes(),
        &plain,
    );
    let cut = &plain[..plain.len() - 1];
    let trailing = [&plain[..], &[0]].concat();
    let mut huge = plain.clone();
    huge[16..20].fill(0xff);
    let manifests = [
        ("manifest", good.clone()),
        ("manifest_short", good[..95].to_vec()),
        ("manifest_magic", headed(7, b'm')),
        ("manifest_version_2", headed(8, 2)),
        ("manifest_version_4", headed(8, 4)),
        ("manifest_algorithm_2", headed(10, 2)),
        ("manifest_reserved", headed(15, 1)),
        ("manifest_scope", scoped.clone()),
        ("manifest_scope_with_more", with_more),
        ("manifest_under_another_key", headed(11, 3)),
        ("manifest_under_the_account_key_with_another", headed(48, 1)),
        ("manifest_provided", provided.clone()),
        ("manifest_provided_other_key", provided.clone()),
        ("manifest_provided_key_withheld", provided.clone()),
        ("manifest_provided_sha256_altered", flipped(&provided, 48)),
        ("manifest_provided_head_of_another", without),
        ("manifest_salt_altered", flipped(&good, 16)),
        ("manifest_body_altered", flipped(&good, 80)),
        ("manifest_tag_altered", flipped(&good, good.len() - 1)),
        ("manifest_cut", good[..good.len() - 1].to_vec()),
        ("manifest_extended", [&good[..], &[0]].concat()),
        ("manifest_body_cut", sealed_manifest(&head, cut)),
        ("manifest_body_trailing", sealed_manifest(&head, &trailing)),
        ("manifest_count_huge", sealed_manifest(&head, &huge)),
        ("manifest_metadata_order", body(|b| b.metadata.reverse())),
        (
            "manifest_metadata_twice",
            body(|b| b.metadata[1] = b.metadata[0]),
        ),
        (
            "manifest_metadata_not_utf8",
            body(|b| b.metadata[0][1] = b"\xff"),
        ),
        ("manifest_generation_index", body(|b| b.extents[1].0 = 1)),
        ("manifest_size", body(|b| b.size += 1)),
        (
            "manifest_extent_too_long",
            body(|b| {
                b.extents[0].1 = (1 << 42) + 1;
                b.size = (1 << 42) + 6;
            }),
        ),
        ("manifest_md5_length", body(|b| b.md5.truncate(15))),
        (
            "manifest_block_id_too_long",
            body(|b| b.extents[0].2 = vec![7; 65]),
        ),
        ("manifest_other_account", good.clone()),
        ("manifest_other_container", good.clone()),
        ("manifest_other_generation", good.clone()),
        ("manifest_other_name", good.clone()),
        ("block_as_blob", block.clone()),
        ("block_blob_as_block", good.clone()),
        ("snapshot_as_blob", snapshot.clone()),
        ("snapshot_blob_as_snapshot", good),
        ("snapshot_block_as_snapshot", block.clone()),
        ("snapshot_other_time", snapshot.clone()),
        ("snapshot_other_name", snapshot.clone()),
        ("snapshot", snapshot),
        ("block_other_id", block.clone()),
        ("block_other_name", block.clone()),
        ("block", block),
    ];
    for (name, sealed) in manifests {
        let other = |field: &str, right: &[u8]| match name.ends_with(field) {
            true => hex::encode(flipped(right, 0)),
            false => hex::encode(right),
        };
        let blob = if name.ends_with("other_name") {
            "invoices/2026/08.pdf"
        } else {
            NAME
        };
        let fields = [
            (
                "expect",
                if [
                    "manifest",
                    "block",
                    "snapshot",
                    "manifest_provided",
                    "manifest_scope",
                ]
                .contains(&name)
                {
                    "success"
                } else {
                    "unauthentic"
                }
                .to_owned(),
            ),
            ("what", "manifest".to_owned()),
            ("account", other("other_account", &ACCOUNT)),
            ("account-key", hex::encode(ACCOUNT_KEY)),
            ("generation", other("other_generation", &GENERATION)),
            (
                "container",
                match name.ends_with("other_container") {
                    true => "reports-2",
                    false => CONTAINER,
                }
                .to_owned(),
            ),
            ("name", blob.to_owned()),
            (
                "block",
                match name {
                    "block_other_id" => hex::encode(b"block-02"),
                    "block" | "block_other_name" | "block_blob_as_block" => hex::encode(BLOCK),
                    _ => String::new(),
                },
            ),
            (
                "snapshot",
                match name {
                    "snapshot_as_blob" => String::new(),
                    "snapshot_other_time" => hex::encode((SNAPSHOT + 1).to_le_bytes()),
                    _ if name.starts_with("snapshot") => hex::encode(SNAPSHOT.to_le_bytes()),
                    _ => String::new(),
                },
            ),
            (
                "provided-key",
                match name {
                    "manifest_provided" | "manifest_provided_sha256_altered" => {
                        hex::encode(PROVIDED)
                    }
                    "manifest_provided_other_key" => hex::encode(flipped(&PROVIDED, 0)),
                    _ => String::new(),
                },
            ),
            (
                "plain",
                hex::encode(match name {
                    "manifest_provided" => &given_plain,
                    _ => &plain,
                }),
            ),
        ];
        write(name, &fields, &sealed);
    }
}

fn extent_head() -> Vec<u8> {
    let generation_key = Secret::copy_from(&GENERATION_KEY).unwrap();
    let commitment = derive(&generation_key, Label::BlobCommitment, &[&EXTENT, &SALT]);
    [
        &b"atrestBX\x01\0\x01\x10\0\0\0\0"[..],
        &ACCOUNT,
        &EXTENT,
        &GENERATION,
        &SALT,
        commitment.expose(),
    ]
    .concat()
}

fn sealed_extent(head: &[u8], plain: &[u8]) -> Vec<u8> {
    sealed_layers(head, plain, false, |_| ())
}

/// The second layer.
fn sealed_twice(nonce: &[u8], aad: &[u8], inner: &[u8]) -> Vec<u8> {
    let catalog_key = Secret::copy_from(&CATALOG_KEY).unwrap();
    let key = derive(&catalog_key, Label::BlobInfrastructure, &[&ACCOUNT]);
    let key = derive(&key, Label::BlobOuter, &[&EXTENT, &SALT]);
    let mut sealed = inner.to_vec();
    let tag = ChaChaKey::new(&key).seal_in_place(&array(nonce), aad, &mut sealed);
    sealed.extend(tag);
    sealed
}

/// `change` alters what the first layer gave before the second is put on.
fn sealed_layers(head: &[u8], plain: &[u8], twice: bool, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let generation_key = Secret::copy_from(&GENERATION_KEY).unwrap();
    let key = AeadKey::new(&derive(
        &generation_key,
        Label::BlobExtent,
        &[&EXTENT, &SALT],
    ));
    let hash = sha256(&[head]);
    let mut sealed = head.to_vec();
    let mut chunks: Vec<&[u8]> = plain.chunks(65_536).collect();
    if chunks.is_empty() {
        chunks.push(b"");
    }
    for (i, chunk) in chunks.iter().enumerate() {
        let last = i + 1 == chunks.len();
        let nonce = [&(i as u64).to_le_bytes()[..], &[0, 0, 0, u8::from(last)]].concat();
        let total = (plain.len() as u64).to_le_bytes();
        let aad = if last {
            [&hash[..], &total].concat()
        } else {
            hash.to_vec()
        };
        let mut body = chunk.to_vec();
        let tag = key.seal_in_place(&array(&nonce), &aad, &mut body);
        body.extend(tag);
        change(&mut body);
        match twice {
            true => sealed.extend(sealed_twice(&nonce, &aad, &body)),
            false => sealed.extend(body),
        }
    }
    sealed
}

fn generate_extents() {
    let head = extent_head();
    let plain = b"twenty bytes of text";
    let good = sealed_extent(&head, plain);
    let headed = |at: usize, to: u8| {
        let mut head = head.clone();
        head[at] = to;
        sealed_extent(&head, plain)
    };
    let two: Vec<u8> = (0..65_537_u32).map(|n| (n >> 3) as u8).collect();
    let two = (sealed_extent(&head, &two), two);
    let first_only = two.0[..128 + 65_552].to_vec();
    let last_only = [&two.0[..128], &two.0[128 + 65_552..]].concat();
    let same = |name, sealed| (name, "unauthentic", 20, sealed);
    let twice_head = {
        let mut head = head.clone();
        head[10] = 2;
        head
    };
    let twice = |plain: &[u8]| sealed_layers(&twice_head, plain, true, |_| ());
    let double = twice(plain);
    let inner_altered = sealed_layers(&twice_head, plain, true, |inner| inner[0] ^= 1);
    let mut exchanged = twice(&two.1);
    exchanged.truncate(128 + 65_568);
    let extents = [
        ("extent", "success", 20, good.clone()),
        ("extent_empty", "success", 0, sealed_extent(&head, b"")),
        ("extent_two_chunks", "success", 65_537, two.0.clone()),
        same("extent_cut", good[..good.len() - 1].to_vec()),
        same("extent_extended", [&good[..], &[0]].concat()),
        ("extent_header_only", "unauthentic", 0, head.clone()),
        same("extent_magic", headed(7, b'x')),
        same("extent_version_2", headed(8, 2)),
        same("extent_algorithm_2", headed(10, 2)),
        same("extent_algorithm_3", headed(10, 3)),
        same("extent_chunk_length", headed(11, 12)),
        same("extent_reserved", headed(15, 1)),
        same("extent_other_account", good.clone()),
        same("extent_other_extent", good.clone()),
        same("extent_other_generation", good.clone()),
        same("extent_other_key", good.clone()),
        same("extent_salt_altered", flipped(&good, 64)),
        same("extent_commitment_altered", headed(96, 0)),
        same("extent_chunk_altered", flipped(&good, 128)),
        same("extent_tag_altered", flipped(&good, good.len() - 1)),
        (
            "extent_last_chunk_dropped",
            "unauthentic",
            65_536,
            first_only,
        ),
        ("extent_inner_chunk_dropped", "unauthentic", 1, last_only),
        ("extent_double", "success", 20, double.clone()),
        ("extent_double_empty", "success", 0, twice(b"")),
        ("extent_double_two_chunks", "success", 65_537, twice(&two.1)),
        same("extent_double_cut", double[..double.len() - 1].to_vec()),
        same(
            "extent_double_tag_altered",
            flipped(&double, double.len() - 1),
        ),
        same("extent_double_chunk_altered", flipped(&double, 128)),
        same("extent_double_inner_altered", inner_altered),
        same("extent_double_other_catalog_key", double.clone()),
        same("extent_double_of_one_layer", good.clone()),
        same("extent_double_where_one_layer_is", double.clone()),
        (
            "extent_double_last_chunk_dropped",
            "unauthentic",
            65_536,
            exchanged,
        ),
    ];
    for (name, expect, len, sealed) in extents {
        let other = |field: &str, right: &[u8]| match name.ends_with(field) {
            true => hex::encode(flipped(right, 0)),
            false => hex::encode(right),
        };
        let plain = match len {
            65_537 => &two.1[..],
            0 => b"",
            _ => plain,
        };
        let mut fields = vec![
            ("expect", expect.to_owned()),
            ("what", "extent".to_owned()),
            ("account", other("other_account", &ACCOUNT)),
            ("extent", other("other_extent", &EXTENT)),
            ("generation", other("other_generation", &GENERATION)),
            ("generation-key", other("extent_other_key", &GENERATION_KEY)),
            ("length", len.to_string()),
            ("plain-sha256", hex::encode(sha256(&[plain]))),
        ];
        // It is given where two layers are expected.
        if name.starts_with("extent_double") && name != "extent_double_where_one_layer_is" {
            fields.push(("catalog-key", other("other_catalog_key", &CATALOG_KEY)));
        }
        write(name, &fields, &sealed);
    }
}

fn generate_slots() {
    // From unit 5 on, 17 units: 00 00 00 b0.
    let id = |pack: u8, place: u32| -> [u8; 16] {
        let mut id = [pack; 16];
        id[12..].copy_from_slice(&place.to_be_bytes());
        id
    };
    let own = id(0x95, 5 << 5 | 16);
    let head = |id: [u8; 16], len: u64| [&id[..], &len.to_le_bytes()].concat();
    let good = head(own, 65_680);
    let slots = [
        ("slot", "success", own, good.clone()),
        ("slot_longest", "success", own, head(own, 17 * 4096 - 24)),
        ("slot_empty", "success", own, head(own, 0)),
        (
            "slot_of_a_file",
            "file",
            id(0x15, 5 << 5 | 16),
            good.clone(),
        ),
        ("slot_given_back", "unauthentic", own, vec![0; 24]),
        (
            "slot_too_long",
            "unauthentic",
            own,
            head(own, 17 * 4096 - 23),
        ),
        ("slot_length_huge", "unauthentic", own, head(own, u64::MAX)),
        (
            "slot_beyond_the_pack",
            "unauthentic",
            id(0x95, (1 << 14) << 5 | 16),
            head(id(0x95, (1 << 14) << 5 | 16), 65_680),
        ),
        (
            "slot_other_pack",
            "unauthentic",
            own,
            head(id(0x96, 5 << 5 | 16), 65_680),
        ),
        (
            "slot_other_place",
            "unauthentic",
            own,
            head(id(0x95, 6 << 5 | 16), 65_680),
        ),
        (
            "slot_other_units",
            "unauthentic",
            own,
            head(id(0x95, 5 << 5 | 17), 65_680),
        ),
    ];
    for (name, expect, id, body) in slots {
        let len = u64::from_le_bytes(body[16..].try_into().unwrap());
        let start: u64 = 5 * 4096 + 24;
        let place = format!(
            "{} {start} to {}",
            "95".repeat(12),
            start.saturating_add(len)
        );
        let fields = [
            ("expect", expect.to_owned()),
            ("what", "slot".to_owned()),
            ("extent", hex::encode(id)),
            ("place", place),
        ];
        write(name, &fields, &body);
    }
}
