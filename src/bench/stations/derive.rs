use std::hint::black_box;

use crate::base::ResourceId;
use crate::bench::session::{About, Session, looped, plainly};
use crate::bench::{BenchError, files, places};
use crate::crypto::{
    AeadKey, Label, PassphraseParams, Secret, derive, random_bytes, random_id, stretch,
};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    session.note(
        "lookup: what each page pays for the right to use the key, while the vault need not be asked: once a second it is, and \
         that is `wrap`. Argon2id: 64 MiB, 3 passes, 4 lanes (RFC 9106), once for a vault under a passphrase.",
    );
    let key = Secret::random();
    let salt = [7; 16];
    let dir = files::scratch(&session.plan.dir)?;
    let lease = places::lease(&dir.path().join("work"), random_id(ResourceId::from_bytes))?;
    session.measure(vec![
        About::new("derive", "hkdf").by(plainly(|| {
            black_box(derive(
                &key,
                Label::SqlitePage,
                black_box(&[&salt, &[2; 4]]),
            ));
        })),
        About::new("expand", crate::crypto::backend()).by(plainly(|| {
            black_box(AeadKey::new(black_box(&key)));
        })),
        About::new("nonce", "random").by(plainly(|| {
            black_box(random_bytes::<12>());
        })),
        About::new("lookup", "unwrapped key").by(looped(|| match lease.check() {
            Ok(generation) => {
                black_box(generation);
                Ok(())
            }
            Err(_) => Err(BenchError::Wrong("a key that may be used")),
        })),
    ])?;
    let params = PassphraseParams::DEFAULT;
    session.measure(vec![
        About::new("stretch", "argon2id")
            .by(looped(move || {
                match stretch(b"correct horse battery staple", &salt, params) {
                    Some(_) => Ok(()),
                    None => Err(BenchError::Wrong("a key from a passphrase")),
                }
            }))
            .once(),
    ])
}
