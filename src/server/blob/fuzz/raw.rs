//! A request as it comes over the wire, and what is done to it on its way.

use std::net::{IpAddr, Ipv4Addr};

use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::sample::select;

use super::super::head::Head;
use super::super::{Address, Origin};

pub(super) const ACCOUNT: &str = "payroll";

#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) method: String,
    pub(super) path: String,
    /// The parts of the query, as they stand there.
    pub(super) query: Vec<String>,
    pub(super) headers: Vec<(String, String)>,
}

impl Raw {
    pub(super) fn new(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty());
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned).collect(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn target(&self) -> String {
        match self.query.is_empty() {
            true => self.path.clone(),
            false => format!("{}?{}", self.path, self.query.join("&")),
        }
    }

    /// As the server has it; `None` when it is no request, or is refused at once.
    pub(super) fn head(&self) -> Option<Head> {
        self.head_from(Origin::tls(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    pub(super) fn head_from(&self, origin: Origin) -> Option<Head> {
        let target = self.target();
        if !target.starts_with('/') || target.contains('#') {
            return None;
        }
        let mut request = Request::builder().method(self.method.as_str()).uri(target);
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
        }
        let (parts, ()) = request.body(()).ok()?.into_parts();
        Head::new(parts, origin, &Address::Host(ACCOUNT.to_owned())).ok()
    }

    /// Names in lower case and values of the query, decoded once.
    pub(super) fn parameters(&self) -> Option<Vec<(String, String)>> {
        let pairs = self.query.iter().map(|pair| {
            let mut halves = pair.splitn(2, '=');
            let name = decoded(halves.next()?)?.to_lowercase();
            Some((name, decoded(halves.next().unwrap_or(""))?))
        });
        pairs.collect()
    }

    /// The one parameter `name`; empty when it is not there, none when it is there twice.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let all = self.parameters()?.into_iter();
        let mut found: Vec<_> = all.filter(|(n, _)| n == name).collect();
        match found.len() {
            0 => Some(String::new()),
            1 => found.pop().map(|(_, value)| value),
            _ => None,
        }
    }
}

/// The last place of all.
pub(super) const LAST: usize = usize::MAX;

fn place(at: usize, len: usize) -> usize {
    match at {
        LAST => len - 1,
        at => at % len,
    }
}

/// RFC 3986, 2.1
pub(super) fn decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|digits| std::str::from_utf8(digits).ok()) {
            Some(digits) => {
                out.push(u8::from_str_radix(digits, 16).ok()?);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Case,
    /// A character becomes `%XX`.
    Encode(usize),
    Decode,
    Put(usize, &'static str),
    Drop(usize),
    Pad,
}

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Method(&'static str),
    Path(Change),
    Pair(usize, Change),
    SwapPairs(usize, usize),
    TwicePair(usize),
    DropPair(usize),
    AddPair(&'static str),
    /// Two parameters become one, with this between them, and no `=` but the first.
    MergePairs(usize, &'static str),
    Name(usize, Change),
    Value(usize, Change),
    SwapHeaders(usize, usize),
    TwiceHeader(usize),
    DropHeader(usize),
    AddHeader(&'static str, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let odd = select(vec![
        "%",
        "%25",
        "%0A",
        "%0a",
        "%0D",
        "%00",
        "%3A",
        "%2F",
        "%2e%2e%2f",
        "%C3%A9",
        "%c0%af",
        "%ff",
        ":",
        ",",
        "=",
        "&",
        "+",
        " ",
        "/",
        "?",
        ";",
        "a",
        "A",
        "0",
        "é",
        "\t",
    ]);
    let at = any::<usize>;
    prop_oneof![
        1 => Just(Change::Case),
        3 => at().prop_map(Change::Encode),
        1 => Just(Change::Decode),
        4 => (at(), odd).prop_map(|(at, text)| Change::Put(at, text)),
        2 => at().prop_map(Change::Drop),
        1 => Just(Change::Pad),
    ]
}

/// Also of `pairs`, which are added to the query.
pub(super) fn edits(pairs: &'static [&'static str]) -> impl Strategy<Value = Vec<Edit>> {
    let headers = select(vec![
        ("x-ms-meta-team", "sales"),
        ("x-ms-version", "2020-02-10"),
        ("x-ms-blob-type", "AppendBlob"),
        ("x-ms-date", "Wed, 01 Jul 2026 12:00:01 GMT"),
        ("date", "Wed, 01 Jul 2026 12:00:01 GMT"),
        ("content-length", "0"),
        ("content-type", ""),
        ("range", "bytes=0-"),
        ("if-match", "*"),
        ("x-ms-", ":"),
        ("accept", "*/*"),
        ("user-agent", "x"),
    ]);
    let at = any::<usize>;
    let edit = prop_oneof![
        1 => select(vec!["GET", "HEAD", "PUT", "DELETE", "POST", "get"]).prop_map(Edit::Method),
        3 => change().prop_map(Edit::Path),
        6 => (at(), change()).prop_map(|(at, change)| Edit::Pair(at, change)),
        1 => (at(), at()).prop_map(|(a, b)| Edit::SwapPairs(a, b)),
        1 => at().prop_map(Edit::TwicePair),
        1 => at().prop_map(Edit::DropPair),
        3 => select(pairs.to_vec()).prop_map(Edit::AddPair),
        3 => (at(), select(vec!["%0A", "%0a", ",", "%2C", "%26", ":", "\n"])).prop_map(|(at, between)| Edit::MergePairs(at, between)),
        1 => (at(), change()).prop_map(|(at, change)| Edit::Name(at, change)),
        4 => (at(), change()).prop_map(|(at, change)| Edit::Value(at, change)),
        1 => (at(), at()).prop_map(|(a, b)| Edit::SwapHeaders(a, b)),
        1 => at().prop_map(Edit::TwiceHeader),
        1 => at().prop_map(Edit::DropHeader),
        2 => headers.prop_map(|(name, value)| Edit::AddHeader(name, value)),
    ];
    prop::collection::vec(edit, 0..4)
}

pub(super) fn changed(text: &str, change: &Change) -> String {
    let chars: Vec<char> = text.chars().collect();
    let part = |chars: &[char]| chars.iter().collect::<String>();
    match change {
        Change::Case if text.to_ascii_uppercase() != text => text.to_ascii_uppercase(),
        Change::Case => text.to_ascii_lowercase(),
        Change::Encode(at) if !chars.is_empty() => {
            let at = place(*at, chars.len());
            let mut bytes = [0; 4];
            let encoded = chars[at].encode_utf8(&mut bytes).bytes();
            let encoded: String = encoded.map(|b| format!("%{b:02X}")).collect();
            part(&chars[..at]) + &encoded + &part(&chars[at + 1..])
        }
        Change::Decode => decoded(text).unwrap_or_else(|| text.to_owned()),
        Change::Put(at, more) => {
            let at = place(*at, chars.len() + 1);
            part(&chars[..at]) + more + &part(&chars[at..])
        }
        Change::Drop(at) if !chars.is_empty() => {
            let at = place(*at, chars.len());
            part(&chars[..at]) + &part(&chars[at + 1..])
        }
        Change::Encode(_) | Change::Drop(_) => String::new(),
        Change::Pad => format!(" {text}\t"),
    }
}

impl Raw {
    pub(super) fn altered(&self, edits: &[Edit]) -> Self {
        let mut raw = self.clone();
        edits.iter().for_each(|edit| raw.alter(edit));
        // What was put in may have parted it anew.
        let target = raw.target();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty());
        raw.query = query.map(str::to_owned).collect();
        raw.path = path.to_owned();
        raw
    }

    fn alter(&mut self, edit: &Edit) {
        let (pairs, headers) = (self.query.len(), self.headers.len());
        match edit {
            Edit::Method(method) => self.method = (*method).to_owned(),
            Edit::Path(change) => self.path = changed(&self.path, change),
            Edit::AddPair(pair) => self.query.push((*pair).to_owned()),
            Edit::AddHeader(name, value) => {
                self.headers.push(((*name).to_owned(), (*value).to_owned()));
            }
            Edit::Pair(at, change) if pairs > 0 => {
                let pair = &mut self.query[place(*at, pairs)];
                *pair = changed(pair, change);
            }
            Edit::SwapPairs(a, b) if pairs > 0 => {
                self.query.swap(place(*a, pairs), place(*b, pairs))
            }
            Edit::TwicePair(at) if pairs > 0 => {
                self.query.push(self.query[place(*at, pairs)].clone())
            }
            Edit::DropPair(at) if pairs > 0 => drop(self.query.remove(place(*at, pairs))),
            Edit::MergePairs(at, between) if pairs > 1 => {
                self.query.sort();
                let at = place(*at, pairs - 1);
                let next = self.query.remove(at + 1).replacen('=', ":", 1);
                self.query[at] += between;
                self.query[at] += &next;
            }
            Edit::Name(at, change) if headers > 0 => {
                let (name, _) = &mut self.headers[place(*at, headers)];
                *name = changed(name, change);
            }
            Edit::Value(at, change) if headers > 0 => {
                let (_, value) = &mut self.headers[place(*at, headers)];
                *value = changed(value, change);
            }
            Edit::SwapHeaders(a, b) if headers > 0 => {
                self.headers.swap(place(*a, headers), place(*b, headers));
            }
            Edit::TwiceHeader(at) if headers > 0 => {
                self.headers.push(self.headers[place(*at, headers)].clone());
            }
            Edit::DropHeader(at) if headers > 0 => drop(self.headers.remove(place(*at, headers))),
            _ => {}
        }
    }
}
