//! The server is killed while clients change keys and secrets: what it answered is there, and of what
//! it had not answered yet all or nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::client::{Answer, Served, VAULT, answer, atrest, request};

const CLIENTS: usize = 6;

/// What a client knows of its key and its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    key: Option<Key>,
    /// The values of its versions.
    secret: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Key {
    versions: usize,
    tag: Option<String>,
    deleted: bool,
    policy: bool,
}

struct Step {
    method: &'static str,
    path: String,
    body: String,
    then: Known,
}

/// A client's `n`th change: what it asks, and what is so once it is answered.
fn step(client: usize, n: usize, known: &Known) -> Step {
    let mut then = known.clone();
    let name = format!("key-{client}");
    let Some(key) = &mut then.key else {
        then.key = Some(Key {
            versions: 1,
            ..Key::default()
        });
        return Step {
            method: "POST",
            path: format!("/keys/{name}/create"),
            body: r#"{"kty":"EC","crv":"P-256"}"#.into(),
            then,
        };
    };
    let (method, path, body) = match n % 7 {
        1 => {
            key.tag = Some(n.to_string());
            let body = format!(r#"{{"tags":{{"n":"{n}"}}}}"#);
            ("PATCH", format!("/keys/{name}"), body)
        }
        2 => {
            // A new version has the tags of the one before it.
            key.versions += 1;
            ("POST", format!("/keys/{name}/rotate"), String::new())
        }
        3 => {
            key.policy = true;
            let body = r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P30D"},"action":{"type":"Rotate"}}]}"#;
            ("PUT", format!("/keys/{name}/rotationpolicy"), body.into())
        }
        4 => {
            key.deleted = true;
            ("DELETE", format!("/keys/{name}"), String::new())
        }
        5 => {
            key.deleted = false;
            (
                "POST",
                format!("/deletedkeys/{name}/recover"),
                String::new(),
            )
        }
        _ => {
            let value = format!("value {client} {n}");
            then.secret.insert(value.clone());
            let body = format!(r#"{{"value":"{value}"}}"#);
            ("PUT", format!("/secrets/secret-{client}"), body)
        }
    };
    Step {
        method,
        path,
        body,
        then,
    }
}

/// Asks, and gives nothing when the server does not answer.
fn try_ask(served: &Served, token: &str, step: &Step) -> Option<Answer> {
    let mut stream = served.try_connect(VAULT)?;
    let path = format!("{}?api-version=7.4", step.path);
    let request = request(token, step.method, &path, &step.body);
    stream.write_all(request.as_bytes()).ok()?;
    Some(answer(&mut stream)).filter(|answer| answer.status != 0)
}

fn get(served: &Served, token: &str, path: &str) -> Option<Value> {
    let answer = served.ask(token, "GET", &format!("{path}?api-version=7.4"), "");
    match answer.status {
        200 => Some(answer.json()),
        404 => None,
        _ => panic!("{path}: {answer:?}"),
    }
}

/// What is so now. A deleted key is recovered to see its versions.
fn found(served: &Served, token: &str, client: usize) -> Known {
    let name = format!("key-{client}");
    let deleted = get(served, token, &format!("/deletedkeys/{name}")).is_some();
    if deleted {
        let path = format!("/deletedkeys/{name}/recover?api-version=7.4");
        assert_eq!(served.ask(token, "POST", &path, "").status, 200);
    }
    let key = get(served, token, &format!("/keys/{name}")).map(|key| {
        let versions = get(served, token, &format!("/keys/{name}/versions")).unwrap();
        let policy = get(served, token, &format!("/keys/{name}/rotationpolicy")).unwrap();
        let actions = policy["lifetimeActions"].as_array().unwrap();
        Key {
            versions: versions["value"].as_array().unwrap().len(),
            tag: key["tags"]["n"].as_str().map(str::to_owned),
            deleted,
            policy: (actions.iter()).any(|a| a["action"]["type"] == "Rotate"),
        }
    });
    let mut secret = BTreeSet::new();
    let path = format!("/secrets/secret-{client}");
    if let Some(versions) = get(served, token, &format!("{path}/versions")) {
        for version in versions["value"].as_array().unwrap() {
            let id = version["id"].as_str().unwrap();
            let path = &id[id.find("/secrets/").unwrap()..];
            let value = get(served, token, path).unwrap();
            secret.insert(value["value"].as_str().unwrap().to_owned());
        }
    }
    Known { key, secret }
}

#[test]
fn a_killed_server_loses_nothing_that_it_answered_and_leaves_nothing_half_done() {
    let (mut open, mut taken) = (0, 0);
    for kill_after in [1, 7, 20, 41, 66, 90] {
        let mut served = Served::new(&[]);
        let token = served.token();
        let answered = AtomicUsize::new(0);
        let ends = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (served, token, answered) = (&served, &token, &answered);
                    scope.spawn(move || {
                        let mut known = Known::default();
                        for n in 0.. {
                            let step = step(client, n, &known);
                            match try_ask(served, token, &step) {
                                Some(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
                                None => return (known, step.then),
                            }
                            known = step.then;
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        unreachable!("until it is killed")
                    })
                })
                .collect();
            while answered.load(Ordering::SeqCst) < kill_after {
                thread::yield_now();
            }
            served.signal(rustix::process::Signal::KILL);
            let ends = clients.into_iter().map(|client| client.join().unwrap());
            ends.collect::<Vec<_>>()
        });
        served.wait();
        let dir = std::mem::replace(&mut served.dir, tempfile::tempdir().unwrap());
        drop(served);
        let verified = atrest(dir.path(), &["audit", "verify"]).output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
        let served = Served::at(dir, &[]);
        let token = served.token();
        for (client, (before, after)) in ends.iter().enumerate() {
            let found = found(&served, &token, client);
            assert!(
                found == *before || found == *after,
                "client {client}: {found:?} is neither {before:?} nor {after:?}"
            );
            open += 1;
            taken += usize::from(found == *after);
        }
    }
    // Were every change at the kill taken, or none, it would not have been killed in their middle.
    assert!(taken < open, "{taken} of {open}");
}
