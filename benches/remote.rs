//! What it costs that the vault is behind a server: the time from asking for a data encryption key to
//! having it, and to open a database, with the vault in this process and with one behind HTTPS on the
//! same machine. Each ends in a synced audit record, which is most of the local time.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use atrest::base::SystemClock;
use atrest::crypto::{KeyKind, Secret};
use atrest::server::{ServeOptions, Server};
use atrest::sqlite::PageSize;
use atrest::vault::{Credential, KeyVault, KeyWrapper, RemoteOptions, RemoteVault, VaultSettings};
use atrest::world::{AskPassphrase, InitOptions, WhichVault, Workspace};

const ROUNDS: usize = 1000;
const OPENINGS: usize = 300;

fn main() {
    println!("| | p50 | p99 |\n|---|---:|---:|");
    for kind in [KeyKind::Oct256, KeyKind::Rsa3072] {
        measure(kind);
    }
}

fn measure(kind: KeyKind) {
    let dir = tempfile::tempdir().unwrap();
    let key = "customer-key".parse().unwrap();
    let init = InitOptions {
        environment: "production".parse().unwrap(),
        customer_key: Some((key, kind)),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    let clock = Arc::new(SystemClock);
    let here = Workspace::init(dir.path(), init, clock.clone()).unwrap();
    let local = here.vault(&WhichVault::Customer).unwrap();
    let open = || {
        let ask: AskPassphrase = Arc::new(|_| Err("there is none".into()));
        Workspace::open(dir.path(), ask, clock.clone()).unwrap()
    };
    let serve = ServeOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        vault: "customer".parse().unwrap(),
        identity: "administrator".into(),
        imds: false,
        any_token: false,
        plain_http: false,
        throttle: None,
        inject: vec![],
        inject_seed: 0,
        events: None,
    };
    let server = Server::start(open(), &serve, clock.clone()).unwrap();
    let endpoints = server.endpoints();
    let variables = endpoints.variables();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str().into())
    };
    let url = &endpoints.vault_url;
    let options = RemoteOptions::from_variables(url, Some(&endpoints.ca_file), &variable).unwrap();
    assert!(matches!(
        options.credential,
        Credential::ManagedIdentity { .. }
    ));
    let remote = RemoteVault::open(&options).unwrap();

    let kid = local
        .key(&"customer-key".parse().unwrap(), None)
        .unwrap()
        .kid;
    let wrapped = local.wrap_key(&kid.key(), &Secret::random()).unwrap();
    let unwrap = |vault: &dyn KeyWrapper| {
        drop(
            vault
                .unwrap_key(&kid, wrapped.algorithm, &wrapped.bytes)
                .unwrap(),
        );
    };
    told(
        ROUNDS,
        &mut [
            (
                format!("unwrap, {kind}, vault in this process"),
                &mut || unwrap(&local),
            ),
            (format!("unwrap, {kind}, through the server"), &mut || {
                unwrap(&remote)
            }),
            (
                format!("unwrap, {kind}, with a new connection and a new token"),
                &mut || unwrap(&RemoteVault::open(&options).unwrap()),
            ),
        ],
    );

    let ledger = "sql/ledger".parse().unwrap();
    let protection = here.default_protection();
    here.create_sql(&ledger, protection, PageSize::DEFAULT)
        .unwrap();
    let away = open().through(options.clone());
    let open_in = |workspace: &Workspace| {
        let database = workspace.open_sql(&ledger).unwrap();
        let connection = database.connect().unwrap();
        let count = "SELECT count(*) FROM sqlite_schema";
        let rows = connection.query_row(count, (), |row| row.get::<_, i64>(0));
        assert_eq!(rows.unwrap(), 0);
    };
    told(
        OPENINGS,
        &mut [
            (
                format!("open a database, {kind}, vault in this process"),
                &mut || open_in(&here),
            ),
            (
                format!("open a database, {kind}, through the server"),
                &mut || open_in(&away),
            ),
        ],
    );
    server.stop();
}

/// Prints the median of the time that each work takes, and what 99 of 100 stay below, after a tenth of the
/// rounds to warm up. They take turns: what else the machine does meets all of them.
fn told(rounds: usize, works: &mut [(String, &mut dyn FnMut())]) {
    let mut times = vec![Vec::with_capacity(rounds); works.len()];
    for round in 0..rounds + rounds / 10 {
        for ((_, work), times) in works.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            work();
            if round >= rounds / 10 {
                times.push(begun.elapsed());
            }
        }
    }
    for ((what, _), times) in works.iter().zip(&mut times) {
        times.sort();
        let at = |part: usize| times[rounds * part / 100].as_secs_f64() * 1e3;
        println!("| {what} | {:.2} ms | {:.2} ms |", at(50), at(99));
    }
}
