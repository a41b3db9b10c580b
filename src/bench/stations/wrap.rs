use crate::bench::load::Served;
use crate::bench::session::{About, Session, each, looped};
use crate::bench::{BenchError, files, places};
use crate::crypto::{KeyEncryptionKey, KeyKind, Secret};
use crate::vault::{KeyVault, KeyWrapper, RemoteVault};
use crate::world::WhichVault;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    session.note(
        "bare: the operation by the library. vault: in a vault's directory in this process, each use with an audit record that is \
         synced before it counts. server: the same through `atrest serve`, a process of its own, over TLS.",
    );
    for kind in KeyKind::WRAPPING {
        one(session, kind)?;
    }
    Ok(())
}

fn one(session: &mut Session<'_>, kind: KeyKind) -> Result<(), BenchError> {
    let dek = Secret::random();
    let dir = files::scratch(&session.plan.dir)?;
    let work = dir.path().join("work");
    let workspace = places::make(&work, kind)?;
    let local = workspace.vault(&WhichVault::Customer)?;
    let served = Served::start(&session.plan.program, &work)?;
    let remote = RemoteVault::open(&served.remote()?)?;
    let kid = local.key(&places::key(), None)?.kid;
    let wrapped = local.wrap_key(&kid.key(), &dek)?;
    let kek = KeyEncryptionKey::generate(kind);
    let failed = BenchError::Wrong("wrapping a key");
    let by_itself = kek.wrap(&dek).map_err(|_| failed)?;
    let wrap = |vault: &dyn KeyWrapper| -> Result<(), BenchError> {
        vault.wrap_key(&kid.key(), &dek)?;
        Ok(())
    };
    let unwrap = |vault: &dyn KeyWrapper| -> Result<(), BenchError> {
        vault.unwrap_key(&kid, wrapped.algorithm, &wrapped.bytes)?;
        Ok(())
    };
    let name = format!("wrap, {kind}");
    session.measure(vec![
        About::new(&name, "bare").by(looped(|| {
            kek.wrap(&dek)
                .map_err(|_| BenchError::Wrong("wrapping a key"))?;
            Ok(())
        })),
        About::new(&name, "vault")
            .against(0)
            .by(each(|| wrap(&local))),
        About::new(&name, "server")
            .against(0)
            .by(each(|| wrap(&remote))),
    ])?;
    let name = format!("unwrap, {kind}");
    session.measure(vec![
        About::new(&name, "bare").by(looped(|| {
            let key = kek.unwrap(wrapped.algorithm, &by_itself);
            key.map(drop)
                .map_err(|_| BenchError::Wrong("unwrapping a key"))
        })),
        About::new(&name, "vault")
            .against(0)
            .by(each(|| unwrap(&local))),
        About::new(&name, "server")
            .against(0)
            .by(each(|| unwrap(&remote))),
    ])
}
