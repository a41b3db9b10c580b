use crate::base::KeyName;
use crate::bench::load::Served;
use crate::bench::session::{About, Session, each, looped};
use crate::bench::{BenchError, files, places};
use crate::crypto::{EncryptionAlgorithm, KeyEncryptionKey, KeyFamily, KeyKind, random_bytes};
use crate::vault::{Cryptography, KeySpec, KeyVault, RemoteVault};
use crate::world::WhichVault;

/// Every kind of key that a vault wraps with.
const KINDS: [KeyKind; 6] = [
    KeyKind::Rsa2048,
    KeyKind::Rsa3072,
    KeyKind::Rsa4096,
    KeyKind::Oct128,
    KeyKind::Oct192,
    KeyKind::Oct256,
];

/// What a key of this kind wraps by.
fn algorithms(kind: KeyKind) -> Vec<EncryptionAlgorithm> {
    use EncryptionAlgorithm::{A128Kw, A192Kw, A256Kw, Rsa15, RsaOaep, RsaOaep256};
    match (kind.family(), kind.bits()) {
        (KeyFamily::Rsa, _) => vec![RsaOaep256, RsaOaep, Rsa15],
        (KeyFamily::Oct, 128) => vec![A128Kw],
        (KeyFamily::Oct, 192) => vec![A192Kw],
        (KeyFamily::Oct, _) => vec![A256Kw],
        (KeyFamily::Ec(_), _) => vec![],
    }
}

/// A key, by itself and in a vault that can be reached in two ways.
struct Subjects<'a> {
    bare: KeyEncryptionKey,
    name: KeyName,
    local: &'a dyn Cryptography,
    remote: &'a dyn Cryptography,
}

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    session.note(
        "A key of 256 bits is wrapped. bare: the operation by the library. vault: in a vault's directory in this process, each use \
         with an audit record that is synced before it counts. server: the same through `atrest serve`, a process of its own, over \
         TLS. Envelopes use RSA-OAEP-256 and A256KW; RSA-OAEP (SHA-1) and RSA1_5 are what old data needs.",
    );
    let dir = files::scratch(&session.plan.dir)?;
    let work = dir.path().join("work");
    let workspace = places::make(&work, KeyKind::Oct256)?;
    let local = workspace.vault(&WhichVault::Customer)?;
    let served = Served::start(&session.plan.program, &work)?;
    let remote = RemoteVault::open(&served.remote()?)?;
    for kind in KINDS {
        let name: KeyName = kind.name().parse().expect("a valid name");
        let bare = KeyEncryptionKey::generate(kind);
        let same = KeyEncryptionKey::from_secret_bytes(kind, &bare.to_secret_bytes());
        let same = same.map_err(|_| BenchError::Wrong("copying a key"))?;
        local.import_key(&name, same, &KeySpec::new(kind))?;
        let subjects = Subjects {
            bare,
            name,
            local: &local,
            remote: &remote,
        };
        for algorithm in algorithms(kind) {
            one(session, &subjects, algorithm)?;
        }
    }
    Ok(())
}

fn one(
    session: &mut Session<'_>,
    subjects: &Subjects<'_>,
    algorithm: EncryptionAlgorithm,
) -> Result<(), BenchError> {
    let Subjects {
        bare,
        name,
        local,
        remote,
    } = subjects;
    let key = random_bytes::<32>();
    let wrapped = bare.wrap_bytes(algorithm, &key);
    let wrapped = wrapped.map_err(|_| BenchError::Wrong("wrapping a key"))?;
    let wrap = |vault: &dyn Cryptography| -> Result<(), BenchError> {
        vault.wrap_bytes(name, None, algorithm, &key)?;
        Ok(())
    };
    let unwrap = |vault: &dyn Cryptography| -> Result<(), BenchError> {
        vault.unwrap_bytes(name, None, algorithm, &wrapped)?;
        Ok(())
    };
    let operation = format!("wrap, {algorithm}, {}", bare.kind());
    session.measure(vec![
        About::new(&operation, "bare").by(looped(|| {
            let wrapped = bare.wrap_bytes(algorithm, &key);
            wrapped
                .map(drop)
                .map_err(|_| BenchError::Wrong("wrapping a key"))
        })),
        About::new(&operation, "vault")
            .against(0)
            .by(each(|| wrap(*local))),
        About::new(&operation, "server")
            .against(0)
            .by(each(|| wrap(*remote))),
    ])?;
    let operation = format!("unwrap, {algorithm}, {}", bare.kind());
    session.measure(vec![
        About::new(&operation, "bare").by(looped(|| {
            let key = bare.unwrap_bytes(algorithm, &wrapped);
            key.map(drop)
                .map_err(|_| BenchError::Wrong("unwrapping a key"))
        })),
        About::new(&operation, "vault")
            .against(0)
            .by(each(|| unwrap(*local))),
        About::new(&operation, "server")
            .against(0)
            .by(each(|| unwrap(*remote))),
    ])
}
