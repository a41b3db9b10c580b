//! The requests of a batch.

use proptest::prelude::*;

use super::super::batch::parts;
use super::config;
use super::raw::Raw;
use super::text::{altered, edits};

const BOUNDARY: &str = "batch_7";

/// A request, in parts: its id, method, target and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    id: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

fn corpus() -> Vec<Plain> {
    let request = |id: &str, method: &str, target: &str, headers: &[(&str, &str)]| Plain {
        id: id.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    vec![
        request(
            "0",
            "DELETE",
            "/con/a%20b?snapshot=2026-07-01T12%3A00%3A00.0000000Z",
            &[
                ("x-ms-date", "Wed, 01 Jul 2026 12:00:00 GMT"),
                ("authorization", "SharedKey payroll:AAAA"),
                ("content-length", "0"),
            ],
        ),
        request(
            "1",
            "PUT",
            "/con/b?comp=tier",
            &[("x-ms-access-tier", "Cool"), ("x-ms-access-tier", "Hot")],
        ),
        request("", "DELETE", "/con/c--batch_7", &[]),
    ]
}

fn written(all: &[Plain], end: &str) -> String {
    let mut body = format!("preamble{end}");
    for plain in all {
        body += &format!("--{BOUNDARY}{end}Content-Type: application/http{end}");
        body += &format!(
            "Content-Transfer-Encoding: binary{end}Content-ID: {}{end}{end}",
            plain.id
        );
        body += &format!("{} {} HTTP/1.1{end}", plain.method, plain.target);
        for (name, value) in &plain.headers {
            body += &format!("{name}: {value}{end}");
        }
        body += end;
    }
    body + &format!("--{BOUNDARY}--{end}")
}

fn read(body: &[u8]) -> Option<Vec<Plain>> {
    let kind = format!("multipart/mixed; boundary={BOUNDARY}");
    let raw = Raw::new("POST", "/?comp=batch", &[("content-type", &kind)]);
    let parts = parts(&raw.head()?, body).ok()?;
    let plain = parts.into_iter().map(|part| {
        let (head, ()) = part.request.into_parts();
        let header = |(name, value): (&_, &hyper::header::HeaderValue)| {
            let name: &hyper::header::HeaderName = name;
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        };
        Plain {
            id: part.content_id,
            method: head.method.to_string(),
            target: head.uri.to_string(),
            headers: head.headers.iter().map(header).collect(),
        }
    });
    Some(plain.collect())
}

/// The same, from RFC 2046 and RFC 9112, byte for byte. Headers by name, as they are kept.
fn expected(body: &[u8]) -> Option<Vec<Plain>> {
    let text = String::from_utf8(body.to_vec()).ok()?;
    let mut lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    let delimiter = |line: &str| {
        let rest = line.strip_prefix("--")?.strip_prefix(BOUNDARY)?;
        let (last, rest) = rest
            .strip_prefix("--")
            .map_or((false, rest), |rest| (true, rest));
        rest.bytes()
            .all(|b| b == b' ' || b == b'\t')
            .then_some(last)
    };
    let mut last = lines.find_map(delimiter)?;
    let mut all = Vec::new();
    while !last {
        let mut own = Vec::new();
        last = loop {
            let line = lines.next()?;
            match delimiter(line) {
                Some(last) => break last,
                None => own.push(line),
            }
        };
        let mut own = own.into_iter();
        let mut id = String::new();
        for (name, value) in headers(&mut own)? {
            if name == "content-id" {
                id = value;
            }
        }
        let start = own.find(|line| !line.is_empty())?;
        let words: Vec<&str> = start.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else {
            return None;
        };
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if !id.chars().all(|c| ('!'..='~').contains(&c))
            || method.is_empty()
            || !method.chars().all(token)
        {
            return None;
        }
        all.push(Plain {
            id,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers(&mut own)?,
        });
    }
    Some(all)
}

/// Up to the empty line, or the end.
fn headers<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    for line in lines {
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let value = value.trim_matches([' ', '\t']);
        let shown = |c: char| c == '\t' || c >= ' ' && c != '\u{7f}';
        if name.is_empty() || !name.chars().all(token) || !value.chars().all(shown) {
            return None;
        }
        all.push((name.to_lowercase(), value.to_owned()));
    }
    Some(all)
}

const TOKENS: &[&str] = &[
    "--batch_7",
    "--batch_7--",
    "\r\n--batch_7\r\n",
    "\r\n--batch_7--\r\n",
    "\n",
    "\r",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    "--",
    "\u{0}",
    "é",
    "HTTP/1.1",
    "Content-ID: 9\r\n",
    "x-ms-date : 1\r\n",
    " folded: 1\r\n",
    "#",
    "?",
    "/",
    "%0d%0a",
    "DELETE /con/d HTTP/1.1\r\n",
    "--batch_70\r\n",
    "batch_7",
];

/// Headers by name: of several names the order is not kept.
fn sorted(mut all: Vec<Plain>) -> Vec<Plain> {
    for plain in &mut all {
        plain.headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    all
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn batch_holds_the_requests_that_its_delimiters_part(crlf in any::<bool>(), edits in edits(TOKENS, 19, 199)) {
        let good = written(&corpus(), if crlf { "\r\n" } else { "\n" });
        let body = altered(&good, &edits);
        let (found, expected) = (read(&body).map(sorted), expected(&body).map(sorted));
        match (found, expected) {
            // Targets that are none, which the reader of the test lets pass.
            (None, _) if !edits.is_empty() => {}
            (found, expected) => prop_assert_eq!(found, expected, "{}", String::from_utf8_lossy(&body)),
        }
    }
}

/// The control: each request is found, and with each of its ends, as it was written.
#[test]
fn batch_that_is_right_is_read() {
    for end in ["\r\n", "\n"] {
        let body = written(&corpus(), end);
        assert_eq!(read(body.as_bytes()).map(sorted), Some(sorted(corpus())));
        let many = |n| vec![corpus().remove(1); n];
        assert_eq!(
            read(written(&many(256), end).as_bytes()).unwrap().len(),
            256
        );
        assert_eq!(read(written(&many(257), end).as_bytes()), None);
        let cut = body.len() - end.len() - 1;
        assert_eq!(read(&body.as_bytes()[..cut]), None);
    }
}
