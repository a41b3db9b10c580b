use std::time::Duration;

use crate::bench::load::{Connection, Load, Served, Until};
use crate::bench::session::{About, Body, Session, plainly};
use crate::bench::{BenchError, files, places};
use crate::crypto::{EncryptionAlgorithm, KeyEncryptionKey, KeyKind};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    let plan = session.plan;
    let dir = files::scratch(&plan.dir)?;
    let work = dir.path().join("work");
    drop(places::make(&work, KeyKind::Rsa2048)?);
    let served = Served::start(&plan.program, &work)?;
    session.note(format!(
        "The server is a process of its own on this machine, and shares its processors with the clients: TLS 1.3, connections that \
         are kept, an audit record of each answer synced before it leaves. bare: the operation alone, in a loop. It took \
         {:.0} ms to start.",
        served.started().as_secs_f64() * 1e3
    ));
    let token = served.token()?;
    let (wrap, unwrap) = (served.wrap_request(&token)?, served.unwrap_request(&token)?);
    let many = plan.scale.of(16, 64, 64);
    let window = Duration::from_millis(plan.scale.of(100, 300, 500));
    let mut connections = (0..many)
        .map(|_| served.connect())
        .collect::<Result<Vec<_>, _>>()?;
    let (alone, together) = connections.split_at_mut(1);

    let kek = KeyEncryptionKey::generate(KeyKind::Oct256);
    let algorithm = EncryptionAlgorithm::A256Kw;
    let name = "wrap, A256KW";
    session.measure(vec![
        About::new(name, "bare").by(plainly(|| {
            let _ = std::hint::black_box(kek.wrap_bytes(algorithm, &[9; 32]));
        })),
        About::new(name, "served")
            .against(0)
            .by(asking(&served, alone, &wrap))
            .lasting(window),
        About::new(name, format!("served, {} connections", together.len()))
            .against(0)
            .by(asking(&served, together, &wrap))
            .lasting(window),
    ])?;
    let kek = KeyEncryptionKey::generate(KeyKind::Rsa2048);
    let algorithm = EncryptionAlgorithm::RsaOaep256;
    let sealed = kek.wrap_bytes(algorithm, &[9; 32]);
    let sealed = sealed.map_err(|_| BenchError::Wrong("wrapping by RSA"))?;
    let name = "unwrap, RSA-OAEP-256, RSA-2048";
    session.measure(vec![
        About::new(name, "bare").by(plainly(|| {
            let _ = std::hint::black_box(kek.unwrap_bytes(algorithm, &sealed));
        })),
        About::new(name, "served")
            .against(0)
            .by(asking(&served, alone, &unwrap))
            .lasting(window),
        About::new(name, format!("served, {} connections", together.len()))
            .against(0)
            .by(asking(&served, together, &unwrap))
            .lasting(window),
    ])
}

/// As many requests as there are operations, over all connections at once.
fn asking<'a>(
    served: &'a Served,
    connections: &'a mut [Connection],
    request: &'a [u8],
) -> Body<'a> {
    Box::new(move |operations, latencies| {
        let load = Load::run(
            served.process(),
            connections,
            request,
            Until::Count(operations),
            None,
        )?;
        latencies.extend(load.latencies);
        Ok(Duration::from_secs_f64(load.seconds))
    })
}
