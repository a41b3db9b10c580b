//! The objects of a storage account in an object store: what is there, whole, after what went wrong.

use std::io::ErrorKind;
use std::sync::Arc;

use atrest::base::{ExtentId, ResourceId};
use atrest::resource::ResourceError;
use atrest::resource::blob::{ExtentBytes, Objects, ObjectsUrl};

use crate::faulty_store::{Fault, FaultyStore};

const ID: ResourceId = ResourceId::from_bytes([7; 16]);
const MIB: usize = 1 << 20;

fn objects(store: &FaultyStore) -> Objects {
    let url: ObjectsUrl = "s3://bucket/some/place".parse().unwrap();
    Objects::over(Arc::new(store.clone()), &url, ID)
}

fn extent(n: u8) -> ExtentId {
    ExtentId::from_bytes([n; 16])
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0])
        .collect()
}

/// Writes it in pieces, as extents are.
fn put(objects: &Objects, id: ExtentId, data: &[u8]) -> std::io::Result<()> {
    let mut upload = objects.begin(id);
    for piece in data.chunks(MIB) {
        upload.write(piece)?;
    }
    upload.finish()
}

fn get(objects: &Objects, id: ExtentId, len: usize) -> Option<Vec<u8>> {
    let object = objects.open(id, len as u64).unwrap()?;
    let mut got = vec![0; usize::try_from(object.length().unwrap()).unwrap()];
    object.read_exact_at(&mut got, 0).unwrap();
    Some(got)
}

#[test]
fn an_object_of_any_length_is_what_was_written() {
    let store = FaultyStore::new();
    let objects = objects(&store);
    let part = 8 * MIB;
    for (n, len) in [
        0,
        1,
        63,
        MIB,
        part - 1,
        part,
        part + 1,
        2 * part,
        5 * part + 17,
    ]
    .into_iter()
    .enumerate()
    {
        let (id, data) = (extent(n as u8), bytes(len));
        assert!(objects.open(id, len as u64).unwrap().is_none());
        put(&objects, id, &data).unwrap();
        assert!(get(&objects, id, len).unwrap() == data, "{len}");
        let name = format!("some/place/{ID}/{id}");
        assert!(store.objects().contains(&(name, data)), "{len}");
    }
    let mut all = objects.extents().unwrap();
    all.sort();
    assert_eq!(all, (0..9).map(extent).collect::<Vec<_>>());
    objects.remove(&all).unwrap();
    objects.remove(&all).unwrap();
    assert!(store.objects().is_empty());
}

#[test]
fn another_accounts_objects_are_neither_seen_nor_removed() {
    let store = FaultyStore::new();
    let mine = objects(&store);
    put(&mine, extent(1), b"mine").unwrap();
    for other in [
        format!(
            "some/place/{}/{}",
            ResourceId::from_bytes([8; 16]),
            extent(2)
        ),
        format!("some/place/{ID}x/{}", extent(2)),
        format!("some/place/{ID}/deeper/{}", extent(2)),
        format!("some/place/{ID}/a-note"),
        format!("{}", extent(2)),
    ] {
        store.set(&other, b"other".to_vec());
    }
    assert_eq!(mine.extents().unwrap(), [extent(1)]);
}

#[test]
fn a_range_is_read_in_one_request_and_nothing_beside_it() {
    let store = FaultyStore::new();
    let objects = objects(&store);
    let data = bytes(3 * MIB);
    put(&objects, extent(1), &data).unwrap();
    let object = objects.open(extent(1), data.len() as u64).unwrap().unwrap();
    store.reads();
    let (start, end) = (MIB, 2 * MIB + 5);
    object.expect(start as u64..end as u64);
    let mut got = vec![0; end - start];
    for (at, piece) in got.chunks_mut(70_000).enumerate() {
        object
            .read_exact_at(piece, (start + at * 70_000) as u64)
            .unwrap();
    }
    assert!(got == data[start..end]);
    let reads = store.reads();
    assert_eq!(reads.len(), 1);
    assert_eq!(reads[0].1, start as u64..end as u64);
    // Elsewhere, only what is asked for.
    let mut piece = [0; 100];
    object.read_exact_at(&mut piece, 5000).unwrap();
    assert_eq!(piece[..], data[5000..5100]);
    assert_eq!(store.reads()[0].1, 5000..5100);
    let beyond = object
        .read_exact_at(&mut piece, data.len() as u64 - 99)
        .unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_cut_object_tells_its_length_and_a_cut_answer_is_no_data() {
    let store = FaultyStore::new();
    let objects = objects(&store);
    let len = MIB;
    for left in [0, 1, 100, 300, len - 1] {
        put(&objects, extent(1), &bytes(len)).unwrap();
        let name = store.objects()[0].0.clone();
        store.set(&name, bytes(left));
        assert_eq!(
            objects
                .open(extent(1), len as u64)
                .unwrap()
                .unwrap()
                .length()
                .unwrap(),
            left as u64
        );
    }
    put(&objects, extent(1), &bytes(len)).unwrap();
    let object = objects.open(extent(1), len as u64).unwrap().unwrap();
    let mut got = vec![0; 1000];
    store.cut_answers(999);
    let refused = object.read_exact_at(&mut got, 1000).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UnexpectedEof);
    store.heal();
    object.read_exact_at(&mut got, 1000).unwrap();
    assert!(got == bytes(len)[1000..2000]);
}

#[test]
fn an_upload_that_is_cut_anywhere_leaves_nothing_that_is_seen() {
    // Begin, three parts, completion; and the one request of a short one.
    for (len, changes) in [(20 * MIB, 5), (MIB, 1)] {
        let data = bytes(len);
        for at in 0..=changes {
            for fault in [Fault::Cut, Fault::Refused, Fault::CutAfter] {
                let store = FaultyStore::new();
                let objects = objects(&store);
                store.fail(at, fault);
                let put = put(&objects, extent(1), &data);
                assert_eq!(put.is_ok(), at == changes, "{len} {at} {fault:?}");
                store.heal();
                let committed = at >= changes - 1 && fault == Fault::CutAfter;
                let there = get(&objects, extent(1), len);
                assert_eq!(
                    there.is_some(),
                    put.is_ok() || committed,
                    "{len} {at} {fault:?}"
                );
                assert!(there.is_none_or(|there| there == data));
            }
        }
    }
}

#[test]
fn an_upload_that_is_dropped_was_never_there() {
    let store = FaultyStore::new();
    let objects = objects(&store);
    let mut upload = objects.begin(extent(1));
    upload.write(&bytes(20 * MIB)).unwrap();
    drop(upload);
    assert!(store.objects().is_empty());
    assert!(objects.extents().unwrap().is_empty());
}

#[test]
fn a_store_that_is_out_of_reach_is_an_error_and_not_an_empty_one() {
    let store = FaultyStore::new();
    let objects = objects(&store);
    put(&objects, extent(1), b"x").unwrap();
    store.fail(0, Fault::Cut);
    assert!(objects.remove(&[extent(1)]).is_err());
    let io = |e: &ResourceError| matches!(e, ResourceError::Io { path, .. } if path.starts_with("s3://bucket/some/place/"));
    assert!(objects.extents().is_err_and(|e| io(&e)));
    assert!(objects.open(extent(1), 1).is_err_and(|e| io(&e)));
    let here = std::env::temp_dir();
    assert!(objects.check_writer(&here).is_err_and(|e| io(&e)));
    store.heal();
    assert_eq!(objects.extents().unwrap(), [extent(1)]);
    let refused = |refused: Result<(), ResourceError>, says: &str| match refused {
        Err(ResourceError::Usage(why)) => assert!(why.contains(says), "{why}"),
        other => panic!("{other:?}"),
    };
    refused(
        objects.check_writer(&here),
        "holds no objects of this account",
    );
    objects.claim(&here).unwrap();
    objects.check_writer(&here).unwrap();
    refused(
        objects.check_writer(&here.join("elsewhere")),
        "are those of the account in",
    );
}
