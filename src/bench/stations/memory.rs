use std::hint::black_box;

use crate::bench::BenchError;
use crate::bench::bare::{Ctr, Gcm};
use crate::bench::session::{About, Session, plainly};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    session.note(
        "AES-CTR and GMAC are aws-lc-rs's. GHASH alone is not to be had from it; GMAC (AES-256-GCM of nothing, the bytes \
         as associated data) is GHASH and one block of AES. AES-GCM interleaves the two, so their times do not \
         add up to its time, and neither is a bound for it but the larger one.",
    );
    session.note(
        "The largest size does not fit into caches; below, what is copied was copied just before.",
    );
    for size in session.plan.sizes(&[4096, 65_536, 1 << 20, 64 << 20]) {
        let plain = vec![0x5a; size as usize];
        let (mut copied, mut counted) = (vec![0; size as usize], plain.clone());
        let (mut ctr, mut gcm) = (Ctr::new(), Gcm::new());
        session.measure(vec![
            About::new("copy", "memory").bytes(size).by(plainly(|| {
                black_box(&mut copied).copy_from_slice(black_box(&plain));
            })),
            About::new("encrypt", "aes-ctr")
                .bytes(size)
                .against(0)
                .by(plainly(|| {
                    ctr.encrypt(black_box(&mut counted));
                })),
            About::new("authenticate", "gmac")
                .bytes(size)
                .against(0)
                .by(plainly(|| {
                    black_box(gcm.authenticate(black_box(&plain)));
                })),
        ])?;
    }
    Ok(())
}
