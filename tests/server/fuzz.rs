//! Fuzz targets for what parses requests: heads, hosts, paths, queries, tokens, bodies of every operation.
//! A corpus of requests that are right, altered a few times each; whatever comes of it, the fault is the
//! caller's, no request stops the server or makes it large, and what was right before still is.
//!
//! `ATREST_TEST_FUZZ` is the number of cases, `ATREST_TEST_SEED` their seed.

use std::fmt::Write as _;
use std::io::Write as _;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use crate::client::*;

/// What the server takes at most, in KiB, whatever it is asked.
const MOST_MEMORY: u64 = 256 << 10;

/// A request, in parts that are altered apart.
#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    method: String,
    path: String,
    query: String,
    token: bool,
    body: String,
}

const LOGIN: &str = "login.microsoftonline.com";

/// One of each operation. Keys are of kinds that are made at once.
fn corpus() -> Vec<Request> {
    let v = "7.6";
    let key = r#"{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;
    let used = r#"{"alg":"A256KW","value":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;
    let gcm = r#"{"alg":"A256GCM","value":"AAECAw","iv":"AAECAwQFBgcICQoL","aad":"AAEC","tag":"AAECAwQFBgcICQoLDA0ODw"}"#;
    let digest = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let signed = format!(r#"{{"alg":"ES256","digest":"{digest}","value":"{digest}"}}"#);
    let attributes = r#""attributes":{"enabled":true,"nbf":1,"exp":4102444800},"tags":{"a":"b"}"#;
    let policy = r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"rotate"}},
        {"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"notify"}}],"attributes":{"expiryTime":"P2Y"}}"#;
    let all = [
        (
            "POST",
            "/keys/n/create",
            format!(
                r#"{{"kty":"oct","key_size":256,"key_ops":["wrapKey","unwrapKey","encrypt","decrypt"],{attributes}}}"#
            ),
        ),
        (
            "POST",
            "/keys/e/create",
            r#"{"kty":"EC-HSM","crv":"P-256","public_exponent":65537}"#.into(),
        ),
        (
            "PUT",
            "/keys/i",
            format!(r#"{{"Hsm":false,"key":{key},{attributes}}}"#),
        ),
        ("GET", "/keys/n", String::new()),
        (
            "GET",
            "/keys/n/0123456789abcdef0123456789abcdef",
            String::new(),
        ),
        (
            "PATCH",
            "/keys/n/",
            format!(r#"{{"key_ops":["wrapKey","unwrapKey","encrypt","decrypt"],{attributes}}}"#),
        ),
        ("GET", "/keys", String::new()),
        ("GET", "/keys/n/versions", String::new()),
        ("GET", "/deletedkeys", String::new()),
        ("GET", "/deletedkeys/n", String::new()),
        ("POST", "/deletedkeys/n/recover", String::new()),
        ("DELETE", "/deletedkeys/n", String::new()),
        ("POST", "/keys/n/backup", String::new()),
        (
            "POST",
            "/keys/restore",
            format!(r#"{{"value":"{digest}"}}"#),
        ),
        ("POST", "/keys/n/rotate", String::new()),
        ("GET", "/keys/n/rotationpolicy", String::new()),
        ("PUT", "/keys/n/rotationpolicy", policy.into()),
        ("POST", "/keys/n//wrapkey", used.into()),
        ("POST", "/keys/n//unwrapkey", used.into()),
        ("POST", "/keys/n//encrypt", gcm.into()),
        ("POST", "/keys/n//decrypt", gcm.into()),
        ("POST", "/keys/e//sign", signed.clone()),
        ("POST", "/keys/e//verify", signed),
        (
            "PUT",
            "/secrets/s",
            format!(r#"{{"value":"x","contentType":"text/plain",{attributes}}}"#),
        ),
        ("GET", "/secrets/s", String::new()),
        ("PATCH", "/secrets/s/", format!("{{{attributes}}}")),
        ("GET", "/secrets", String::new()),
        (
            "POST",
            "/secrets/restore",
            format!(r#"{{"value":"{digest}"}}"#),
        ),
        ("POST", "/secrets/s/backup", String::new()),
        ("DELETE", "/deletedsecrets/s", String::new()),
    ];
    let mut all: Vec<_> = all
        .map(|(method, path, body)| Request {
            host: VAULT,
            method: method.into(),
            path: path.into(),
            query: format!("api-version={v}&maxresults=5&$skiptoken=n"),
            token: true,
            body,
        })
        .into();
    let form = "grant_type=client_credentials&client_id=00000000-0000-0000-0000-000000000000&client_secret=x&scope=https%3A%2F%2Fvault.azure.net%2F.default";
    all.extend(
        [
            ("GET", "/common/discovery/instance", ""),
            ("POST", "/t/oauth2/v2.0/token", form),
        ]
        .map(|(method, path, body)| Request {
            host: LOGIN,
            method: method.into(),
            path: path.into(),
            query: String::new(),
            token: false,
            body: body.into(),
        }),
    );
    all
}

/// What is done to a request.
#[derive(Clone, Debug)]
enum Edit {
    /// A byte of the whole, as it goes over the wire.
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
    /// Text somewhere in the path or the query.
    Path(Index, String),
    Query(Index, String),
    /// A value of the body, by its place among all of them.
    Value(Index, Value),
    Nest(usize),
    Long(usize),
    Head(&'static str),
    Method(&'static str),
    NoToken,
}

fn text() -> impl Strategy<Value = String> {
    let odd = select(vec![
        "",
        "/",
        "//",
        "..",
        "%2e%2e%2f",
        "%00",
        "%",
        "%zz",
        "%ff%fe",
        "\u{0}",
        "é",
        "?",
        "#",
        "&",
        "=",
        " ",
        "+",
        "keys",
        "secrets",
        "versions",
        "restore",
        "\\",
        "%2F",
        "0123456789abcdef0123456789abcdef",
        "api-version=1",
        "api-version=9999999999-01-01",
        "maxresults=18446744073709551616",
        "maxresults=-1",
        "\u{202e}",
        "'",
        "\"",
    ]);
    prop_oneof![odd.prop_map(str::to_owned), "\\PC{0,8}", "[a-z]{0,200}"]
}

fn value() -> impl Strategy<Value = Value> {
    let odd = select(vec![
        Value::Null,
        true.into(),
        0.into(),
        (-1).into(),
        u64::MAX.into(),
        i64::MIN.into(),
        1e308.into(),
        "".into(),
        "null".into(),
        "RSA".into(),
        "EC".into(),
        "oct".into(),
        "P-256K".into(),
        "A128CBC".into(),
        "A256CBCPAD".into(),
        "RSA1_5".into(),
        "PS512".into(),
        "rotate".into(),
        "P1D".into(),
        "P-1D".into(),
        "P99999999999Y".into(),
        "PT1S".into(),
        "\u{0}".into(),
        "=".into(),
        "AA==".into(),
        Value::Array(vec![]),
        Value::Object(Default::default()),
        serde_json::json!({"a": {"b": [1, "c"]}}),
        "A".repeat(30_000).into(),
    ]);
    prop_oneof![3 => odd, 1 => any::<i64>().prop_map(Value::from), 1 => "\\PC{0,20}".prop_map(Value::from)]
}

fn edit() -> impl Strategy<Value = Edit> {
    let heads = select(vec![
        "Content-Length: 0",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "Host: customer.vault.azure.net",
        "Authorization: Bearer a.b.c",
        "Expect: 100-continue",
        "X: \u{80}",
        "Connection: upgrade\r\nUpgrade: h2c",
        "Content-Encoding: gzip",
        "X-Long: {LONG}",
    ]);
    let methods = select(vec![
        "GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "get",
        "PRI",
    ]);
    let at = || any::<Index>();
    prop_oneof![
        2 => (at(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => at().prop_map(Edit::Cut),
        3 => (at(), text()).prop_map(|(at, text)| Edit::Path(at, text)),
        3 => (at(), text()).prop_map(|(at, text)| Edit::Query(at, text)),
        8 => (at(), value()).prop_map(|(at, value)| Edit::Value(at, value)),
        1 => (1_usize..20_000).prop_map(Edit::Nest),
        1 => (1_usize..400_000).prop_map(Edit::Long),
        1 => heads.prop_map(Edit::Head),
        1 => methods.prop_map(Edit::Method),
        1 => Just(Edit::NoToken),
    ]
}

/// Puts `new` in the place of the value number `at` of `tree`, which has `count` of them.
fn replace(tree: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        *tree = new.clone();
    }
    *at = at.wrapping_sub(1);
    match tree {
        Value::Array(values) => values.iter_mut().for_each(|v| replace(v, at, new)),
        Value::Object(fields) => fields.values_mut().for_each(|v| replace(v, at, new)),
        _ => {}
    }
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

fn insert(text: &mut String, at: &Index, new: &str) {
    let places: Vec<_> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    text.insert_str(places[at.index(places.len())], new);
}

/// The request as it goes over the wire, altered.
fn altered(mut request: Request, edits: &[Edit], token: &str) -> Vec<u8> {
    let mut more = String::new();
    for edit in edits {
        match edit {
            Edit::Path(at, text) => insert(&mut request.path, at, text),
            Edit::Query(at, text) => insert(&mut request.query, at, text),
            Edit::Value(at, new) => {
                if let Ok(mut tree) = serde_json::from_str::<Value>(&request.body) {
                    let mut place = at.index(count(&tree));
                    replace(&mut tree, &mut place, new);
                    request.body = tree.to_string();
                }
            }
            Edit::Nest(deep) => {
                let (open, close) = ("[".repeat(*deep), "]".repeat(*deep));
                request.body = format!(r#"{{"kty":{open}{close}}}"#);
            }
            Edit::Long(len) => request.body = format!(r#"{{"value":"{}"}}"#, "A".repeat(*len)),
            Edit::Head(line) => {
                write!(more, "{}\r\n", line.replace("{LONG}", &"x".repeat(40_000))).unwrap()
            }
            Edit::Method(method) => request.method = (*method).into(),
            Edit::NoToken => request.token = false,
            _ => {}
        }
    }
    let Request {
        host,
        method,
        path,
        query,
        token: with_token,
        body,
    } = request;
    let authorization = match with_token {
        true => format!("Authorization: Bearer {token}\r\n"),
        false => String::new(),
    };
    let mut bytes = format!(
        "{method} {path}?{query} HTTP/1.1\r\nHost: {host}\r\n{authorization}Content-Length: {}\r\n{more}Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        match edit {
            Edit::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Edit::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
            _ => {}
        }
    }
    bytes
}

/// Asks, and gives the answer. What may be taken for a request without an end is ended: the server
/// would wait for the rest for half a minute.
fn ask(served: &Served, host: &str, bytes: &[u8], end: bool) -> Answer {
    let mut stream = served.tunnel(host);
    // It may answer, and close, before it has read all.
    let _ = stream.write_all(bytes);
    if end {
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let _ = stream.sock.shutdown(std::net::Shutdown::Write);
    }
    answer(&mut stream)
}

#[test]
fn no_request_is_the_servers_fault_or_its_end() {
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |n| n.parse().unwrap());
    let served = Served::new(&[]);
    let token = served.token();
    let corpus = corpus();
    let good = |request: &Request| {
        ask(
            &served,
            request.host,
            &altered(request.clone(), &[], &token),
            false,
        )
    };
    // The corpus is what it should be: something is done by most of it.
    let shown = |request: &Request| (request.path.clone(), good(request).status);
    let statuses: Vec<_> = corpus.iter().map(shown).collect();
    let done = statuses.iter().filter(|(_, status)| *status < 300);
    assert!(done.count() >= 20, "{statuses:?}");

    let seed: u64 = number("ATREST_TEST_SEED", 1);
    let mut kinds = std::collections::BTreeMap::<u16, u64>::new();
    for at in 0..number("ATREST_TEST_FUZZ", 1500) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&u64::to_le_bytes(at));
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let case = (any::<Index>(), prop::collection::vec(edit(), 1..4));
        let (base, edits) = case.new_tree(&mut runner).unwrap().current();
        let request = corpus[base.index(corpus.len())].clone();
        let host = request.host;
        let raw = |edit: &Edit| {
            matches!(
                edit,
                Edit::Flip(..) | Edit::Insert(..) | Edit::Cut(_) | Edit::Head(_)
            )
        };
        let end = edits.iter().any(raw);
        let answer = ask(
            &served,
            host,
            &altered(request.clone(), &edits, &token),
            end,
        );
        *kinds.entry(answer.status).or_default() += 1;
        let fault = match answer.status {
            // Nothing is answered to what ends too early; and what is refused before its body was read
            // may be closed before the answer is.
            0 => {
                !end && !edits
                    .iter()
                    .any(|edit| matches!(edit, Edit::Long(_) | Edit::Nest(_)))
            }
            100 | 200..500 => false,
            _ => true,
        };
        let shown = (edits, request.method, request.path, request.body);
        assert!(!fault, "seed {seed}, case {at}: {answer:?} to {shown:?}");
        let told = format!("{}{}", answer.head, answer.body);
        assert!(
            !told.contains(&token),
            "seed {seed}, case {at}: it tells the token: {answer:?}"
        );
    }
    println!("{kinds:?}");
    // The control: both ways were gone, and the vault is what it was.
    assert!(
        kinds.keys().any(|status| *status < 300) && kinds[&400] > 100,
        "{kinds:?}"
    );
    let key = "/keys/customer-key?api-version=7.4";
    assert_eq!(served.ask(&token, "GET", key, "").status, 200);
    let audit = atrest(served.dir.path(), &["audit", "verify"])
        .output()
        .unwrap();
    assert!(audit.status.success(), "{audit:?}");
    assert!(served.peak_kib() < MOST_MEMORY, "{} KiB", served.peak_kib());
    assert!(!served.log().contains("panicked"));
}
