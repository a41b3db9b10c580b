//! A server that errs or lies, and is trusted by its certificate: always a clear error, in bounded time
//! and memory, and never a key that is not the one asked for.
//!
//! Over 400 lines because a lie that is not in this list is one that nobody tried.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atrest::base::{EpochId, KeyVersion};
use atrest::crypto::{KeyKind, Secret, WrapAlgorithm};
use atrest::vault::{EpochKeeper, KeySpec, KeyVault, KeyWrapper, Page, RemoteVault, VaultError};
use serde_json::{Value, json};

use crate::fake::{Act, Fake, bundle, granted, key, kid, used};

/// Far more than any call may take, and never reached by one that ends.
const TOO_LONG: Duration = Duration::from_secs(60);

fn unwrap(vault: &RemoteVault) -> Result<Secret<32>, VaultError> {
    let begun = Instant::now();
    let opened = vault.unwrap_key(&key(), WrapAlgorithm::A256Kw, &[0; 40]);
    assert!(begun.elapsed() < TOO_LONG, "it hung");
    opened
}

#[track_caller]
fn refuses(act: impl Fn() -> Act + Send + Sync + 'static, code: &str) {
    let lies = Fake::new(move |request| request.ends_with("/unwrapkey").then(&act));
    let refused = unwrap(&lies.vault()).unwrap_err();
    assert_eq!(refused.code(), code, "{refused}");
    assert!(refused.to_string().len() < 1000, "{refused}");
    assert!(
        !refused.to_string().contains(['\n', '\r', '\x1b']),
        "{refused}"
    );
}

fn replies(status: u16, body: &str) -> impl Fn() -> Act + Send + Sync + 'static {
    let body = body.to_owned();
    move || Act::Reply(status, body.clone())
}

#[test]
fn an_honest_server_is_believed() {
    let honest = Fake::new(|_| None);
    let vault = honest.vault();
    let expected = Secret::copy_from(&[0x5a; 32]).unwrap();
    assert!(unwrap(&vault).unwrap().ct_eq(&expected));
    assert_eq!(vault.wrap_key(&key().key(), &expected).unwrap().key, key());
    assert_eq!(vault.keys(Page::all()).unwrap().len(), 1);
    assert_eq!(
        vault.key_versions(&key().name, Page::all()).unwrap().len(),
        1
    );
    // One connection and one token for all of them.
    assert_eq!(honest.tokens.load(Ordering::SeqCst), 1);
}

#[test]
fn an_answer_that_is_none_is_refused() {
    refuses(
        || Act::Raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec()),
        "BadAnswer",
    );
    refuses(|| Act::Raw(vec![0xff; 4096]), "BadAnswer");
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "{\"kid\":1,\"value\":2}",
        "{\"kid\":",
        "\u{0}",
        "<html>\x1b[2J</html>",
    ] {
        refuses(replies(200, body), "BadAnswer");
        // An error that nobody wrote, whatever its status.
        for status in [201, 302, 404, 500, 418] {
            refuses(replies(status, body), "BadAnswer");
        }
    }
}

#[test]
fn an_error_is_never_taken_for_a_failed_unwrap_unless_it_is_one() {
    let error = |code: &str| json!({ "error": { "code": code, "message": "x\r\n\x1b[2Jy" } });
    refuses(
        replies(400, &error("BadParameter").to_string()),
        "UnwrapFailed",
    );
    refuses(replies(400, &error("Other").to_string()), "BadAnswer");
    refuses(
        replies(404, &error("KeyNotFound").to_string()),
        "KeyNotFound",
    );
    refuses(
        replies(404, &error("VaultNotFound").to_string()),
        "Unreachable",
    );
    refuses(replies(403, &error("Forbidden").to_string()), "Forbidden");
    refuses(
        replies(500, &error("InternalServerError").to_string()),
        "Store",
    );
}

#[test]
fn an_answer_without_an_end_is_cut_off() {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes();
    let long = || "Content-Length: 1000000000000\r\n\r\n{\"kid\":\"";
    refuses(
        move || Act::Endless(head(long()), vec![b'a'; 64 << 10]),
        "BadAnswer",
    );
    let chunk = [b"10000\r\n".as_slice(), &[b'a'; 0x10000], b"\r\n"].concat();
    refuses(
        move || Act::Endless(head("Transfer-Encoding: chunked\r\n\r\n"), chunk.clone()),
        "BadAnswer",
    );
    refuses(
        move || Act::Endless(head("X: "), vec![b'a'; 4 << 10]),
        "BadAnswer",
    );
    refuses(
        move || Act::Endless(head(""), b"X: y\r\n".repeat(1000)),
        "BadAnswer",
    );
}

#[test]
fn a_server_that_answers_slowly_or_never_is_given_up() {
    refuses(|| Act::Drip(Vec::new()), "Unreachable");
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec();
    refuses(
        move || Act::Drip([&head[..], &[b'a'; 1000]].concat()),
        "Unreachable",
    );
    refuses(|| Act::Close, "Unreachable");
    // Cut in the middle.
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"kid\":".to_vec();
    refuses(move || Act::Raw(cut.clone()), "Unreachable");
}

#[test]
fn a_key_of_another_name_version_or_length_is_refused() {
    let gives = |of: fn(&str) -> String, len: usize| {
        let again = move |request: &str, base: &str| {
            let asked = request.ends_with("/unwrapkey");
            asked.then(|| used(&of(base), &vec![0x5a; len]))
        };
        unwrap(&Fake::knowing(again).vault())
    };
    assert!(gives(kid, 32).is_ok());
    for len in [0, 16, 31, 33, 64] {
        assert_eq!(gives(kid, len).unwrap_err().code(), "BadAnswer", "{len}");
    }
    let others: [fn(&str) -> String; 8] = [
        |base| format!("{base}/keys/other/{}", key().version),
        |base| format!("{base}/keys/k/{}", KeyVersion::from_bytes([1; 16])),
        |base| format!("{base}/keys/k"),
        |base| format!("{base}/keys/k/"),
        |base| format!("{base}/secrets/k/{}", key().version),
        |base| format!("{base}.evil.example/keys/k/{}", key().version),
        |_| format!("https://evil.example/keys/k/{}", key().version),
        |_| String::new(),
    ];
    for of in others {
        assert_eq!(
            gives(of, 32).unwrap_err().code(),
            "BadAnswer",
            "{}",
            of("BASE")
        );
    }
}

#[test]
fn a_redirection_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let line: &'static str = Box::leak(format!("Location: http://127.0.0.1:{port}/").into());
    for status in [301, 302, 303, 307, 308] {
        refuses(move || Act::With(status, line, String::new()), "BadAnswer");
    }
    assert!(elsewhere.accept().is_err(), "the token went elsewhere");
}

#[test]
fn a_server_that_says_later_is_asked_a_few_times_and_no_more() {
    let error =
        json!({ "error": { "code": "ServiceUnavailable", "message": "later" } }).to_string();
    for (status, line, at_most) in [
        (503, "Retry-After: 0", 5),
        (429, "Retry-After: 0", 5),
        (429, "X: y", 5),
        // Longer than there is time.
        (429, "Retry-After: 86400", 1),
        (503, "Retry-After: 99999999999999999999", 5),
        // More seconds than there is a time for.
        (503, "Retry-After: 18446744073709551615", 1),
    ] {
        let body = error.clone();
        let busy = Fake::new(move |request| {
            let asked = request.ends_with("/unwrapkey");
            asked.then(|| Act::With(status, line, body.clone()))
        });
        let refused = unwrap(&busy.vault()).unwrap_err();
        assert_eq!(refused.code(), "Unreachable", "{refused}");
        let asked = busy.count("unwrapkey");
        assert!((1..=at_most).contains(&asked), "{line}: {asked}");
    }
    // A sealed vault stays sealed: nobody waits for it.
    let sealed = json!({ "error": {
        "code": "ServiceUnavailable", "message": "sealed", "innererror": { "code": "VaultSealed" },
    } });
    let sealed = sealed.to_string();
    let fake = Fake::new(move |request| {
        let asked = request.ends_with("/unwrapkey");
        asked.then(|| Act::With(503, "Retry-After: 0", sealed.clone()))
    });
    assert_eq!(unwrap(&fake.vault()).unwrap_err().code(), "Sealed");
    assert_eq!(fake.count("unwrapkey"), 1);
}

#[test]
fn what_is_safe_to_repeat_survives_a_lost_connection_and_nothing_else_is_repeated() {
    let lost = AtomicUsize::new(0);
    let flaky = Fake::new(move |request| {
        let asked = request.ends_with("/unwrapkey");
        (asked && lost.fetch_add(1, Ordering::SeqCst) < 2).then_some(Act::Close)
    });
    assert!(unwrap(&flaky.vault()).is_ok());
    assert_eq!(flaky.count("unwrapkey"), 3);

    // It may have made the key: a second try would make another version.
    let flaky = Fake::new(|request| request.ends_with("/create").then_some(Act::Close));
    let spec = KeySpec::new(KeyKind::Oct256);
    let made = flaky.vault().create_key(&key().name, &spec);
    assert_eq!(made.unwrap_err().code(), "Unreachable");
    assert_eq!(flaky.count("create"), 1);
    let honest = Fake::new(|_| None);
    assert!(honest.vault().create_key(&key().name, &spec).is_ok());
}

#[test]
fn a_token_that_is_not_taken_is_fetched_again_once() {
    let error = json!({ "error": { "code": "Unauthorized", "message": "no" } }).to_string();
    let body = error.clone();
    let never = Fake::new(move |request| {
        let asked = request.ends_with("/unwrapkey");
        asked.then(|| Act::Reply(401, body.clone()))
    });
    let refused = unwrap(&never.vault()).unwrap_err();
    assert_eq!(refused.code(), "NotAuthorized", "{refused}");
    assert_eq!(never.count("unwrapkey"), 2);
    assert_eq!(never.tokens.load(Ordering::SeqCst), 2);

    let first = AtomicUsize::new(0);
    let once = Fake::new(move |request| {
        let asked = request.ends_with("/unwrapkey") && first.fetch_add(1, Ordering::SeqCst) == 0;
        asked.then(|| Act::Reply(401, error.clone()))
    });
    assert!(unwrap(&once.vault()).is_ok());
}

#[test]
fn who_makes_a_key_keeps_nobody_waiting_for_a_token() {
    let unauthorized = json!({ "error": { "code": "Unauthorized", "message": "no" } }).to_string();
    let fake = Fake::with_tokens(
        move |request| {
            (!request.contains("/atrest/")).then(|| Act::Reply(401, unauthorized.clone()))
        },
        |before| match before {
            0 => granted(),
            _ => Act::Drip(Vec::new()),
        },
    );
    let vault = fake.vault();
    let begun = Instant::now();
    let made = vault.create_key(&key().name, &KeySpec::new(KeyKind::Oct256));
    assert_eq!(made.unwrap_err().code(), "Unreachable");
    assert!(begun.elapsed() < TOO_LONG, "it held the token for minutes");
}

#[test]
fn a_token_that_is_none_is_refused() {
    let gives = |body: Value| {
        let tokens = move |_| Act::Reply(200, body.to_string());
        let fake = Fake::with_tokens(|_| None, tokens);
        RemoteVault::open(&fake.options()).map(drop)
    };
    let token = |text: &str, time: Value| json!({ "access_token": text, "expires_in": time });
    assert!(gives(token("a.b.c", json!("3600"))).is_ok());
    assert!(gives(token("a.b.c", json!(3600))).is_ok());
    for bad in [
        json!({}),
        json!([]),
        token("", json!(3600)),
        token("a b", json!(3600)),
        token("a\r\nX-Evil: yes", json!(3600)),
        token("\u{e4}", json!(3600)),
        token(&"a".repeat(17 << 10), json!(3600)),
        token("a.b.c", json!(0)),
        token("a.b.c", json!(-1)),
        token("a.b.c", json!("soon")),
        token("a.b.c", Value::Null),
        token(&"a".repeat(1 << 20), json!(3600)),
    ] {
        let refused = gives(bad.clone()).unwrap_err();
        assert_eq!(refused.code(), "BadAnswer", "{bad}: {refused}");
    }
    let denied = Fake::with_tokens(|_| None, |_| Act::Reply(401, "{\"message\":\"no\"}".into()));
    let refused = RemoteVault::open(&denied.options()).map(drop).unwrap_err();
    assert_eq!(refused.code(), "NotAuthorized", "{refused}");
    let hangs = Fake::with_tokens(|_| None, |_| Act::Drip(Vec::new()));
    let begun = Instant::now();
    let refused = RemoteVault::open(&hangs.options()).map(drop).unwrap_err();
    assert_eq!(refused.code(), "Unreachable", "{refused}");
    assert!(begun.elapsed() < TOO_LONG);
}

#[test]
fn a_certificate_of_another_is_not_believed() {
    let (one, other) = (Fake::new(|_| None), Fake::new(|_| None));
    let mut options = one.options();
    assert!(RemoteVault::open(&options).is_ok());
    options.ca_file = other.options().ca_file;
    let refused = RemoteVault::open(&options).map(drop).unwrap_err();
    assert_eq!(refused.code(), "Unreachable", "{refused}");
    assert!(refused.to_string().contains("ATREST_VAULT_CA"), "{refused}");
}

#[test]
fn a_list_that_never_ends_or_is_of_something_else_is_refused() {
    let lists = |page: fn(&str) -> Value| {
        let again = move |request: &str, base: &str| {
            (request == "GET /keys").then(|| Act::Reply(200, page(base).to_string()))
        };
        Fake::knowing(again).vault().keys(Page::all()).map(drop)
    };
    let refused = |page: fn(&str) -> Value| lists(page).unwrap_err().code();
    assert!(lists(|base| json!({ "value": [{ "kid": format!("{base}/keys/k") }] })).is_ok());
    let endless =
        |base: &str| json!({ "value": [{ "kid": format!("{base}/keys/k") }], "nextLink": "x" });
    assert_eq!(refused(endless), "BadAnswer");
    assert_eq!(
        refused(|_| json!({ "value": [], "nextLink": "x" })),
        "BadAnswer"
    );
    assert_eq!(
        refused(|_| json!({ "value": [{ "kid": "x" }] })),
        "BadAnswer"
    );
    let many = |base: &str| {
        let item = json!({ "kid": format!("{base}/keys/k") });
        json!({ "value": vec![item; 26] })
    };
    assert_eq!(refused(many), "BadAnswer");
}

#[test]
fn a_key_that_cannot_be_is_refused() {
    let tells = |change: fn(&mut Value)| {
        let again = move |request: &str, base: &str| {
            let mut told = bundle(base);
            change(&mut told);
            request
                .starts_with("GET /keys/k")
                .then(|| Act::Reply(200, told.to_string()))
        };
        Fake::knowing(again)
            .vault()
            .key(&key().name, None)
            .map(drop)
    };
    assert!(tells(|_| ()).is_ok());
    let lies: [fn(&mut Value); 12] = [
        |told| told["key"]["kid"] = json!("x"),
        |told| told["key"]["kty"] = json!("none"),
        |told| told["key"]["key_ops"] = json!(["everything"]),
        |told| told["key"]["atrest"] = Value::Null,
        |told| told["key"]["atrest"]["kind"] = json!("rsa-2048"),
        |told| told["key"]["atrest"]["thumbprint"] = json!("5a"),
        |told| told["attributes"]["created"] = json!(i64::MAX),
        |told| told["attributes"]["exp"] = json!(-i64::MAX),
        |told| told["attributes"]["enabled"] = json!("yes"),
        |told| told["tags"] = json!({ "": "" }),
        |told| told["key"] = json!({ "kid": told["key"]["kid"], "kty": "RSA", "key_ops": [], "n": "AA", "e": "AQAB" }),
        |told| told["key"] = json!({ "kid": told["key"]["kid"], "kty": "EC", "crv": "P-256", "key_ops": [], "x": "AA", "y": "AA" }),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let refused = tells(lie).unwrap_err();
        assert_eq!(refused.code(), "BadAnswer", "{number}: {refused}");
    }
}

#[test]
fn a_position_that_is_none_is_refused_and_an_unknown_page_is_not_nothing_remembered() {
    let tells = |status: u16, body: Value| {
        let fake = Fake::new(move |request| {
            let asked = request.contains("/positions/");
            asked.then(|| Act::Reply(status, body.to_string()))
        });
        let id = EpochId::from_bytes([1; 16]);
        fake.vault().epoch(key().vault, id)
    };
    let epoch = |position: Value| json!({ "check": "open", "position": position });
    let good = tells(200, epoch(Value::Null)).unwrap().unwrap();
    assert_eq!(good.position, None);
    let none = json!({ "error": { "code": "PositionNotFound", "message": "" } });
    assert_eq!(tells(404, none).unwrap(), None);
    for (status, body) in [
        (
            404,
            json!({ "error": { "code": "NotFound", "message": "" } }),
        ),
        (404, json!({})),
        (200, json!({})),
        (200, epoch(json!(""))),
        (200, epoch(json!("ff".repeat(80)))),
        (200, json!({ "check": "never", "position": null })),
    ] {
        let refused = tells(status, body.clone()).unwrap_err();
        assert_eq!(refused.code(), "BadAnswer", "{body}: {refused}");
    }
}

#[test]
fn another_vault_in_the_servers_place_is_noticed_when_it_is_asked_who_it_is() {
    let asked = AtomicUsize::new(0);
    let changes = Fake::new(move |request| {
        let first =
            asked.fetch_add(usize::from(request.ends_with("/vault")), Ordering::SeqCst) == 0;
        let other = json!({ "id": "0".repeat(32), "retention_days": 7, "purge_protection": false });
        (request.ends_with("/vault") && !first).then(|| Act::Reply(200, other.to_string()))
    });
    let vault = changes.vault();
    assert_eq!(vault.settings().unwrap_err().code(), "BadAnswer");
    let honest = Fake::with_tokens(|_| None, |_| granted());
    assert_eq!(honest.vault().settings().unwrap().retention_days, 7);
}
