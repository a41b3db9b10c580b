//! Hostile requests to storage accounts: names, signatures, and the bodies that are parsed.
//!
//! `ATREST_TEST_FUZZ` is the number of cases of each target, `ATREST_TEST_SEED` their seed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sha2::Sha256;

use crate::blobs::{HOST, PUT, error, served_with, signed};
use crate::client::*;

struct Account {
    served: Served,
    key: String,
}

impl Account {
    fn new() -> Self {
        let (served, key) = served_with(&["--plain-http"]);
        Self { served, key }
    }

    /// A request that is signed as it is.
    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = match (method, path.contains('?')) {
            ("PUT", false) => PUT,
            _ => &[],
        };
        let path = format!("/documents{path}");
        let named = |request: String| request.replace(HOST, "localhost");
        self.served
            .http(&signed(&self.key, method, &path, headers, body, named))
    }
}

#[test]
fn no_name_leads_out_of_the_account_or_to_another_blob() {
    let account = Account::new();
    let longest = "x".repeat(1024);
    let too_long = "x".repeat(1025);
    let bad = (400, "InvalidResourceName");
    for (name, refusal) in [
        ("..%2f..%2fserver%2fca.pem", bad),
        ("a/%2e%2e/%2e%2e/catalog.db", bad),
        ("..%5c..%5ca", bad),
        ("%2fetc%2fpasswd", bad),
        ("a%00b", bad),
        ("a%0d%0ab", bad),
        (too_long.as_str(), bad),
        ("%c0%ae%c0%ae%c0%af", (400, "InvalidUri")),
        ("%ed%a0%80", (400, "InvalidUri")),
        ("%f4%90%80%80", (400, "InvalidUri")),
    ] {
        for method in ["PUT", "GET", "DELETE"] {
            let answer = account.ask(method, &format!("/default/{name}"), "");
            assert_eq!(error(&answer), refusal, "{method} {name}");
        }
    }
    let good = [
        (longest.as_str(), "long"),
        ("Case", "upper"),
        ("case", "lower"),
        ("%C3%A9", "composed"),
        ("e%CC%81", "decomposed"),
        ("a%2fb", "parted"),
        ("a%252fb", "percent"),
        ("...", "dots"),
        ("empty", ""),
    ];
    for (name, body) in good {
        assert_eq!(
            account.ask("PUT", &format!("/default/{name}"), body).status,
            201,
            "{name}"
        );
    }
    for (name, body) in good {
        let got = account.ask("GET", &format!("/default/{name}"), "");
        assert_eq!((got.status, got.body.as_str()), (200, body), "{name}");
        assert!(
            got.head
                .contains(&format!("content-length: {}", body.len())),
            "{}",
            got.head
        );
    }
    let listed = account
        .ask("GET", "/default?comp=list&restype=container", "")
        .body;
    assert_eq!(listed.matches("<Name>").count(), good.len(), "{listed}");
}

/// An alteration of a text.
#[derive(Clone, Debug)]
enum Edit {
    Cut(Index, Index),
    Double(Index, Index),
    Insert(Index, String),
}

/// What is put into it.
const WORDS: &[&str] = &[
    "<",
    ">",
    "&",
    "&#0;",
    "&#x110000;",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "&b;",
    "<![CDATA[",
    "]]>",
    "<?xml?>",
    "<Latest>",
    "</Latest>",
    "<Committed/>",
    "<BlockList>",
    "<Tag>",
    "<Key>",
    "xmlns:a=\"b\"",
    "\u{0}",
    "\u{feff}",
    "=",
    "==",
    "%",
    "%00",
    "%ff",
    "&sig=",
    "&sv=0000-00-00",
    "&se=9999-12-31T23:59:60Z",
    "&sp=",
    ":",
    " ",
    ",",
    "99999999999999999999",
    "-1",
    "documents:",
    "SharedKey ",
    "Bearer ",
    "\u{130}",
    "AAAA",
];

fn edit() -> impl Strategy<Value = Edit> {
    let any = any::<Index>;
    prop_oneof![
        (any(), any()).prop_map(|(at, end)| Edit::Cut(at, end)),
        (any(), any()).prop_map(|(at, end)| Edit::Double(at, end)),
        (any(), select(WORDS)).prop_map(|(at, word)| Edit::Insert(at, word.to_owned())),
        (any(), select(WORDS), 1..2_000_usize)
            .prop_map(|(at, word, n)| Edit::Insert(at, word.repeat(n))),
    ]
}

fn altered(text: &str, edits: &[Edit]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for edit in edits {
        let len = text.len() + 1;
        match edit {
            Edit::Insert(at, word) => {
                let at = at.index(len);
                text.splice(at..at, word.chars());
            }
            Edit::Cut(a, b) | Edit::Double(a, b) => {
                let (a, b) = (a.index(len), b.index(len));
                let part = a.min(b)..a.max(b);
                let copy = text[part.clone()].to_vec();
                match edit {
                    Edit::Cut(..) => drop(text.drain(part)),
                    _ => drop(text.splice(part.end..part.end, copy)),
                }
            }
        }
    }
    text.into_iter().collect()
}

/// Shows `judge` each of these texts, altered.
fn fuzz(texts: &[&str], mut judge: impl FnMut(&str)) {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |n| n.parse().unwrap())
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("ATREST_TEST_SEED", 1).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let cases = (select(texts), prop::collection::vec(edit(), 1..4));
    for _ in 0..number("ATREST_TEST_FUZZ", 150) {
        let (text, edits) = cases.new_tree(&mut runner).unwrap().current();
        judge(&altered(&text, &edits));
    }
}

fn assert_callers_fault(answer: &Answer, what: &str) {
    let refused = (400..500).contains(&answer.status) || answer.status == 501;
    assert!(refused || answer.status < 300, "{what:?}: {answer:?}");
    assert!(answer.status != 0, "{what:?}: no answer");
}

#[test]
fn no_body_of_xml_is_the_servers_fault_or_changes_what_it_does_not_name() {
    let account = Account::new();
    account.ask("PUT", "/default/kept", "kept");
    let block = account.ask("PUT", "/default/fuzzed?blockid=AAAA&comp=block", "block");
    assert_eq!(block.status, 201, "{block:?}");
    let lists = [
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><Latest>AAAA</Latest></BlockList>",
        "<BlockList><Committed>AAAA</Committed><Uncommitted>AAAA</Uncommitted></BlockList>",
        "<BlockList/>",
    ];
    fuzz(&lists, |body| {
        let answer = account.ask("PUT", "/default/fuzzed?comp=blocklist", body);
        assert_callers_fault(&answer, body);
        assert_ne!(answer.status, 403, "it was read: {answer:?}");
    });
    let tags = [
        "<?xml version=\"1.0\"?><Tags><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tags>",
        "<Tags><TagSet><Tag><Key>a</Key><Value/></Tag><Tag><Key>c</Key><Value>d</Value></Tag></TagSet></Tags>",
    ];
    fuzz(&tags, |body| {
        let answer = account.ask("PUT", "/default/kept?comp=tags", body);
        assert_callers_fault(&answer, body);
        assert_ne!(answer.status, 403, "it was read: {answer:?}");
    });
    assert_eq!(account.ask("GET", "/default/kept", "").body, "kept");
    assert!(account.served.peak_kib() < 256 << 10);
}

#[test]
fn longest_list_of_blocks_is_taken_and_a_longer_one_changes_nothing() {
    let account = Account::new();
    // As long as an identifier may be without padding.
    let id = STANDARD.encode([b'x'; 63]);
    let staged = account.ask(
        "PUT",
        &format!("/default/long?blockid={id}&comp=block"),
        "ab",
    );
    assert_eq!(staged.status, 201, "{staged:?}");
    let list = |len: usize| {
        let named = format!("<Latest>{id}</Latest>").repeat(len);
        let body = format!("<BlockList>{named}</BlockList>");
        account.ask("PUT", "/default/long?comp=blocklist", &body)
    };
    assert_eq!(list(50_000).status, 201);
    let whole = "ab".repeat(50_000);
    assert_eq!(account.ask("GET", "/default/long", "").body, whole);
    assert_eq!(error(&list(50_001)), (400, "BlockListTooLong"));
    assert_eq!(account.ask("GET", "/default/long", "").body, whole);
}

#[test]
fn no_signature_that_was_altered_is_taken() {
    let account = Account::new();
    account.ask("PUT", "/default/a", "data");
    let named = |request: String| request.replace(HOST, "localhost");
    let get = signed(&account.key, "GET", "/documents/default/a", &[], "", named);
    let shown = get
        .lines()
        .find_map(|l| l.strip_prefix("Authorization: "))
        .unwrap();
    assert_eq!(account.served.http(&get).status, 200);
    fuzz(&[shown], |altered| {
        // What begins another line is another request.
        if altered.trim() == shown || altered.contains(['\r', '\n', '\0']) {
            return;
        }
        let answer = account.served.http(&get.replace(shown, altered));
        assert_callers_fault(&answer, altered);
        assert_ne!(answer.status, 200, "{altered}");
    });
}

#[test]
fn no_shared_access_signature_is_the_servers_fault() {
    let account = Account::new();
    account.ask("PUT", "/default/a", "data");
    let (expiry, version) = ("2099-01-01T00:00:00Z", "2026-10-06");
    let to_sign =
        format!("r\n\n{expiry}\n/blob/documents/default/a\n\n\n\n{version}\nb\n\n\n\n\n\n\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(&account.key).unwrap()).unwrap();
    mac.update(to_sign.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature: String = form_urlencoded::byte_serialize(signature.as_bytes()).collect();
    let query = format!("sv={version}&sr=b&sp=r&se={expiry}&sig={signature}");
    let get = |query: &str| {
        account.served.http(&format!(
            "GET /documents/default/a?{query} HTTP/1.1\r\nHost: localhost\r\n\
             x-ms-version: {version}\r\nConnection: close\r\n\r\n"
        ))
    };
    assert_eq!(get(&query).body, "data");
    assert_ne!(get(&query.replace("sp=r", "sp=rw")).status, 200);
    // What no URL holds is not sent; a part that is there as it was may stand beside others.
    let sent = |c: &char| c.is_ascii_graphic() && !"<>\"#{}|^`\\".contains(*c);
    fuzz(&[&query], |altered| {
        let altered: String = altered.chars().filter(sent).collect();
        let answer = get(&altered);
        assert_callers_fault(&answer, &altered);
        let keeps = |part: &str| altered.contains(part);
        assert!(
            answer.status != 200 || query.split('&').all(keeps),
            "{altered}"
        );
    });
}
