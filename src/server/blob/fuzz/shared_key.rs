//! Requests that are signed by an account's key.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::super::call::Call;
use super::super::head::Head;
use super::super::shared_key::string_to_sign;
use super::config;
use super::raw::{ACCOUNT, Change, Edit, LAST, Raw, edits};

const DATE: (&str, &str) = ("x-ms-date", "Wed, 01 Jul 2026 12:00:00 GMT");
const VERSION: (&str, &str) = ("x-ms-version", "2026-10-06");

/// In the order of the string (authorize-with-shared-key, "Blob, Queue, and File Services").
const STANDARD: [&str; 11] = [
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
];

const PAIRS: [&str; 14] = [
    "comp=list",
    "comp=block",
    "restype=container",
    "snapshot=2026-07-01T12:00:00.0000000Z",
    "prefix=a",
    "timeout=30",
    "Prefix=b",
    "versionid=1",
    "a=b%0Acomp:list",
    "comp",
    "=",
    "x:y=z",
    "%63omp=tags",
    "include=tags",
];

fn corpus() -> Vec<Raw> {
    vec![
        Raw::new(
            "PUT",
            "/con/a%20b/%C3%A9?timeout=20",
            &[
                DATE,
                VERSION,
                ("Content-Length", "12"),
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="),
                ("x-ms-blob-type", "BlockBlob"),
                ("x-ms-meta-team", "payroll, sales"),
                ("x-ms-meta-year", "2026"),
                ("If-None-Match", "*"),
            ],
        ),
        Raw::new(
            "GET",
            "/con?restype=container&comp=list&prefix=a%2Cb&delimiter=%2F&include=metadata%2Csnapshots&maxresults=5",
            &[DATE, VERSION, ("x-ms-client-request-id", "1")],
        ),
        Raw::new(
            "PUT",
            "/con/b?blockid=AAAA&comp=block",
            &[
                DATE,
                VERSION,
                ("Content-Length", "0"),
                ("x-ms-blob-type", "BlockBlob"),
            ],
        ),
        Raw::new(
            "GET",
            "/con/b?a=1&snapshot=2026-07-01T12%3A00%3A00.0000000Z",
            &[
                ("Date", "Wed, 01 Jul 2026 12:00:00 GMT"),
                VERSION,
                ("Range", "bytes=0-9"),
                ("If-Match", "\"0x8D\""),
                ("If-Modified-Since", "Wed, 01 Jul 2026 11:00:00 GMT"),
                ("If-Unmodified-Since", "Wed, 01 Jul 2026 13:00:00 GMT"),
            ],
        ),
        Raw::new(
            "PUT",
            "/con?restype=container",
            &[
                DATE,
                VERSION,
                ("Content-Encoding", "gzip"),
                ("Content-Language", "en"),
            ],
        ),
        Raw::new(
            "DELETE",
            "/con/b",
            &[DATE, VERSION, ("x-ms-delete-snapshots", "include")],
        ),
        Raw::new("GET", "/?comp=list&prefix=a:&marker=b", &[DATE, VERSION]),
    ]
}

/// What a client signs, from the request as it goes over the wire. `None` when the same is signed of another.
fn expected(raw: &Raw) -> Option<String> {
    let all = |name: &str| {
        let values = raw
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let values = values.map(|(_, value)| value.trim_matches([' ', '\t']));
        values.collect::<Vec<_>>().join(",")
    };
    let has_own_date = raw
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("x-ms-date"));
    let mut said = raw.method.clone() + "\n";
    for name in STANDARD {
        let value = all(name);
        if !(name == "Content-Length" && value == "0" || name == "Date" && has_own_date) {
            said += &value;
        }
        said += "\n";
    }
    let names = raw.headers.iter().map(|(name, _)| name.to_lowercase());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("x-ms-")).collect();
    names.sort();
    names.dedup();
    for name in names {
        said += &format!("{name}:{}\n", all(&name));
    }
    said += &format!("/{ACCOUNT}{}", raw.path);
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in raw.parameters()? {
        parameters.entry(name).or_default().push(value);
    }
    let mut lines = String::new();
    let mut expected = Vec::new();
    for (name, mut values) in parameters {
        values.sort();
        lines += &format!("\n{name}:{}", values.join(","));
        expected.push((name, values.join(",")));
    }
    // Whoever reads it finds the parameters that were there.
    let read = lines.split('\n').skip(1).map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.to_owned()))
    });
    (read.collect::<Option<Vec<_>>>()? == expected).then_some(said + &lines)
}

/// What the server makes of it: `None` when it refuses it for what it says twice, or for no operation.
fn meaning(head: &Head) -> Option<String> {
    const READ: [&str; 16] = [
        "blockid",
        "blocklisttype",
        "comp",
        "delimiter",
        "include",
        "marker",
        "maxresults",
        "prefix",
        "restype",
        "ses",
        "sig",
        "snapshot",
        "ss",
        "sv",
        "versionid",
        "where",
    ];
    let mut all = vec![format!("{:?} {:?}", head.method, Call::of(head).ok()?)];
    for name in READ {
        all.push(format!("{:?}", head.query(name).ok()?));
    }
    let own = head.headers.keys().map(|name| name.as_str());
    let mut names: Vec<_> = own.filter(|name| name.starts_with("x-ms-")).collect();
    names.extend(
        STANDARD
            .iter()
            .filter(|name| **name != "Date" && **name != "Content-Length"),
    );
    names.sort_unstable();
    for name in names {
        all.push(format!(
            "{name} {:?}",
            head.header(name).ok()?.unwrap_or_default()
        ));
    }
    Some(all.join("\n"))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn signature_by_key_is_good_for_one_request_only(good in select(corpus()), edits in edits(&PAIRS)) {
        let signed = expected(&good);
        prop_assert!(signed.is_some());
        let altered = good.altered(&edits);
        let Some(head) = altered.head() else {
            return Ok(());
        };
        let said = string_to_sign(ACCOUNT, &head);
        prop_assert_eq!(&said, &expected(&altered), "{:?}", altered);
        let (read, meant) = (meaning(&head), meaning(&good.head().unwrap()));
        prop_assert!(meant.is_some());
        if said == signed && read.is_some() {
            prop_assert_eq!(read, meant, "{:?}", altered);
        }
    }
}

/// The controls: what may be altered on the way, and that all else may not.
#[test]
fn whatever_is_signed_cannot_be_altered() {
    let said = |raw: &Raw| string_to_sign(ACCOUNT, &raw.head()?);
    for good in corpus() {
        let signed = said(&good);
        assert_eq!(signed, expected(&good));
        assert!(signed.is_some());
        let mut same = vec![
            Edit::Name(0, Change::Case),
            Edit::SwapHeaders(0, LAST),
            Edit::SwapPairs(0, LAST),
            Edit::Value(0, Change::Pad),
            Edit::AddHeader("user-agent", "x"),
        ];
        let value = |pair: &String| Change::Encode(pair.find('=').unwrap() + 1);
        same.extend((0..good.query.len()).map(|at| Edit::Pair(at, value(&good.query[at]))));
        for edit in same {
            // What is encoded already would be encoded twice.
            let altered = good.altered(std::slice::from_ref(&edit));
            if altered.parameters() == good.parameters() || !matches!(edit, Edit::Pair(..)) {
                assert_eq!(said(&altered), signed, "{edit:?} {altered:?}");
            }
        }
        let mut other = vec![
            Edit::Method("POST"),
            Edit::Path(Change::Put(LAST, "x")),
            Edit::Path(Change::Put(LAST, "/")),
            Edit::Path(Change::Encode(LAST)),
            Edit::AddPair("comp=acl"),
            Edit::AddHeader("x-ms-meta-other", ""),
        ];
        for at in 0..good.headers.len() {
            if good.headers[at].1 != "0" {
                other.push(Edit::DropHeader(at));
                other.push(Edit::TwiceHeader(at));
            }
            other.push(Edit::Value(at, Change::Put(0, "1")));
        }
        for at in 0..good.query.len() {
            other.push(Edit::DropPair(at));
            other.push(Edit::TwicePair(at));
            other.push(Edit::Pair(at, Change::Put(0, "x")));
            other.push(Edit::Pair(at, Change::Put(LAST, "x")));
            other.push(Edit::Pair(at, Change::Put(LAST, "%2578")));
        }
        for edit in other {
            let altered = good.altered(std::slice::from_ref(&edit));
            assert_ne!(said(&altered), signed, "{edit:?} {altered:?}");
        }
    }
}

/// One parameter that is read as two, of a request that somebody could send in the place of the signed one.
#[test]
fn snapshot_cannot_be_taken_out_of_what_was_signed() {
    let said = |target: &str| {
        string_to_sign(
            ACCOUNT,
            &Raw::new("DELETE", target, &[DATE]).head().unwrap(),
        )
    };
    assert!(said("/con/b?a=1&snapshot=2").is_some());
    for forged in [
        "/con/b?a=1%0Asnapshot:2",
        "/con/b?a=1%0asnapshot%3A2",
        "/con/b?a:1%0Asnapshot=2",
    ] {
        assert_eq!(said(forged), None, "{forged}");
    }
}
