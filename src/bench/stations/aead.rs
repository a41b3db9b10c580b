use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use crate::base::{ExtentId, ResourceId};
use crate::bench::bare::Gcm;
use crate::bench::session::{About, Body, Session, looped, plainly};
use crate::bench::{BenchError, files, places};
use crate::crypto::{AeadKey, Backend, Nonce, Secret, TAG_LEN, random_id};
use crate::resource::blob::{CHUNK_LEN, ExtentCipher, GenerationKey};
use crate::sqlite::{PageSealer, PageSize};

/// Of the part of a page that is sealed.
const PAGE: usize = 4064;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    session.note(
        "copy: of as many bytes. aws-lc-rs and aes-gcm: this program's door to them, one key, a counted nonce, 32 bytes of \
         associated data, from one buffer into another.",
    );
    for size in session
        .plan
        .sizes(&[64, 512, 4096, 65_536, 1 << 20, 4 << 20])
    {
        sizes(session, size)?;
    }
    paths(session)?;
    threads(session)
}

/// Each nonce once, as in use.
fn counter() -> impl FnMut() -> Nonce {
    let mut count = 0_u64;
    move || {
        count += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&count.to_le_bytes());
        nonce
    }
}

fn sizes(session: &mut Session<'_>, size: u64) -> Result<(), BenchError> {
    let secret = Secret::random();
    let plain = vec![0x5a; size as usize];
    let mut copied = plain.clone();
    let mut cases = vec![About::new("copy", "memory").bytes(size).by(plainly(|| {
        black_box(&mut copied).copy_from_slice(black_box(&plain));
    }))];
    for backend in Backend::ALL {
        let key = Arc::new(AeadKey::with_backend(backend, &secret));
        let mut sealed = vec![0; plain.len()];
        let nonce = [0xff; 12];
        let tag = key.seal(&nonce, &[7; 32], &plain, &mut sealed);
        let (seals, plain) = (key.clone(), &plain);
        let (mut into, mut nonces) = (sealed.clone(), counter());
        cases.push(
            About::new("seal", backend)
                .bytes(size)
                .against(0)
                .by(plainly(move || {
                    black_box(seals.seal(&nonces(), &[7; 32], black_box(plain), &mut into));
                })),
        );
        let mut into = sealed.clone();
        cases.push(
            About::new("open", backend)
                .bytes(size)
                .against(0)
                .by(looped(move || {
                    key.open(&nonce, &[7; 32], black_box(&sealed), &tag, &mut into)
                        .map_err(|_| BenchError::Wrong("opening what was sealed"))
                })),
        );
    }
    session.measure(cases)
}

/// What sealed files add to the library: the right to the key, its lookup, the nonce, associated data,
/// the trailer.
fn paths(session: &mut Session<'_>) -> Result<(), BenchError> {
    session.note(
        "page and chunk: as SQL databases seal a page of 4096 bytes (4064 of them content) and blobs a chunk of 64 KiB, with \
         nonce and associated data, and each page with the lookup of the right to its key, from a vault in this process; beside a bare loop of aws-lc-rs on as many bytes.",
    );
    let (plain, mut sealed) = (vec![0x5a; PAGE], vec![0; PAGE + TAG_LEN]);
    let mut bare = Gcm::new();
    let file = random_id(ResourceId::from_bytes);
    let dir = files::scratch(&session.plan.dir)?;
    let key = Arc::new(places::lease(&dir.path().join("work"), file)?);
    let mut sealer = PageSealer::new(file, PageSize::DEFAULT, key.clone());
    let mut opener = PageSealer::new(file, PageSize::DEFAULT, key);
    let mut page = vec![0; PAGE + 32];
    sealer.seal(1, &plain, &mut page)?;
    let mut opened = plain.clone();
    let (mut number, mut into) = (0, page.clone());
    session.measure(vec![
        About::new("page", "bare aws-lc-rs")
            .bytes(4096)
            .by(plainly(|| {
                bare.seal(&[7; 32], black_box(&plain), &mut sealed);
            })),
        About::new("page", "sealed")
            .bytes(4096)
            .against(0)
            .by(looped(|| {
                number += 1;
                Ok(sealer.seal(number, black_box(&plain), &mut into)?)
            })),
        About::new("page", "opened")
            .bytes(4096)
            .against(0)
            .by(looped(|| {
                match opener.open(1, black_box(&page), &mut opened)? {
                    true => Ok(()),
                    false => Err(BenchError::Wrong("opening a page that was sealed")),
                }
            })),
    ])?;
    let (plain, mut sealed) = (vec![0x5a; CHUNK_LEN], vec![0; CHUNK_LEN + TAG_LEN]);
    let (mut bare, mut into) = (Gcm::new(), sealed.clone());
    let account = random_id(ResourceId::from_bytes);
    let extent = random_id(ExtentId::from_bytes);
    let cipher = ExtentCipher::create(account, extent, &GenerationKey::random(), None);
    let mut index = 0;
    session.measure(vec![
        About::new("chunk", "bare aws-lc-rs")
            .bytes(CHUNK_LEN as u64)
            .by(plainly(|| {
                bare.seal(&[7; 32], black_box(&plain), &mut sealed);
            })),
        About::new("chunk", "sealed")
            .bytes(CHUNK_LEN as u64)
            .against(0)
            .by(plainly(|| {
                index += 1;
                cipher.seal(index, None, black_box(&plain), &mut into);
            })),
    ])
}

fn threads(session: &mut Session<'_>) -> Result<(), BenchError> {
    let size = session.plan.size.unwrap_or(65_536);
    let mut cases = vec![];
    for backend in Backend::ALL {
        let one = cases.len();
        for threads in session.plan.thread_counts() {
            let about = About::new("parallel seal", backend)
                .bytes(size)
                .threads(threads);
            let about = if threads > 1 {
                about.against(one)
            } else {
                about
            };
            cases.push(about.by(at_once(backend, size as usize, threads)));
        }
    }
    session.note(
        "parallel seal: each thread has a key and buffers of its own. A ratio of 1 to one thread is perfect scaling; more \
         threads than cores, or two on one core, show as more.",
    );
    session.measure(cases)
}

fn at_once<'a>(backend: Backend, size: usize, threads: usize) -> Body<'a> {
    let keys: Vec<AeadKey> = (0..threads)
        .map(|_| AeadKey::with_backend(backend, &Secret::random()))
        .collect();
    let mut places: Vec<_> = (0..threads)
        .map(|_| (vec![0x5a; size], vec![0; size], counter()))
        .collect();
    Box::new(move |operations, _| {
        let (start, end) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
        thread::scope(|scope| {
            for (key, (plain, sealed, nonces)) in keys.iter().zip(&mut places) {
                let (start, end) = (&start, &end);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..operations {
                        black_box(key.seal(&nonces(), &[7; 32], black_box(plain), sealed));
                    }
                    end.wait();
                });
            }
            start.wait();
            let begun = Instant::now();
            end.wait();
            Ok(begun.elapsed())
        })
    })
}
