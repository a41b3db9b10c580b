//! A stand-in for Google Cloud Storage: of its XML API (cloud.google.com/storage/docs/xml-api) what the library asks
//! for, written from that documentation. It is not Google's: it shows that our requests are what the documentation says,
//! and what becomes of the answers, and nothing of how Google's servers behave.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use percent_encoding::percent_decode_str;

/// Names of a page of a list: few, so that there are pages.
const PAGE: usize = 3;
const MODIFIED: &str = "Wed, 01 Jul 2026 12:00:00 GMT";

/// A bucket, served on a port of its own.
pub struct Google {
    pub url: String,
    pub token: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// Parts of what is not complete yet, by number, and of which object.
    uploads: BTreeMap<String, (String, BTreeMap<usize, Vec<u8>>)>,
    /// Requests that were answered, as `METHOD WHAT`.
    answered: Vec<String>,
    /// Requests that are refused for the moment, before any other is answered.
    busy: usize,
}

struct Request {
    method: String,
    name: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
}

impl Google {
    pub const BUCKET: &str = "bucket.1";

    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let google = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            token: "ya29.a-token",
            state: Arc::default(),
        };
        let (state, token) = (google.state.clone(), google.token);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                thread::spawn(move || serve(&stream, &state, token));
            }
        });
        google
    }

    pub fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    pub fn holds(&self, needle: &[u8]) -> bool {
        let state = self.state.lock().unwrap();
        let mut objects = state.objects.values();
        objects.any(|object| object.windows(needle.len()).any(|w| w == needle))
    }

    /// Uploads that were begun and neither completed nor given up.
    pub fn unfinished(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }

    pub fn answered(&self, what: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.answered.iter().filter(|one| *one == what).count()
    }

    /// Refuses the next requests for the moment.
    pub fn be_busy(&self, requests: usize) {
        self.state.lock().unwrap().busy = requests;
    }

    /// Alters a byte of each object that is longer than any header.
    pub fn alter(&self) {
        let mut state = self.state.lock().unwrap();
        let long = state.objects.values_mut().filter(|o| o.len() > 1_000);
        long.for_each(|object| *object.last_mut().unwrap() ^= 1);
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, token: &str) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let answer = match request.headers.get("authorization") {
            Some(shown) if *shown == format!("Bearer {token}") => {
                state.lock().unwrap().answer(&request)
            }
            _ => error("401 Unauthorized", "AuthenticationRequired"),
        };
        let head = format!(
            "HTTP/1.1 {}\r\n{}Content-Length: {}\r\n\r\n",
            answer.status,
            answer.headers,
            answer.body.len()
        );
        let body = match request.method.as_str() {
            "HEAD" => &[],
            _ => &answer.body[..],
        };
        let mut stream = stream;
        if stream.write_all(&[head.as_bytes(), body].concat()).is_err() {
            return;
        }
    }
}

/// The next request of a connection; `None` at its end.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned()).filter(|_| !line.is_empty())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let len = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let path = decoded(path);
    let in_bucket = path.strip_prefix('/')?.strip_prefix(Google::BUCKET)?;
    Some(Request {
        method,
        name: in_bucket.strip_prefix('/').unwrap_or_default().to_owned(),
        query: form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        headers,
        body,
    })
}

fn error(status: &'static str, code: &str) -> Answer {
    xml(status, &format!("<Error><Code>{code}</Code></Error>"))
}

fn xml(status: &'static str, text: &str) -> Answer {
    Answer {
        status,
        headers: "Content-Type: application/xml; charset=UTF-8\r\n".to_owned(),
        body: format!("<?xml version='1.0' encoding='UTF-8'?>{text}").into_bytes(),
    }
}

fn etag(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(bytes.len() as u64, |sum, byte| {
        sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte)
    });
    format!("\"{sum:016x}\"")
}

/// What is said of an object beside its bytes.
fn about(bytes: &[u8]) -> String {
    format!(
        "ETag: {}\r\nLast-Modified: {MODIFIED}\r\nx-goog-generation: 1782907200000000\r\nx-goog-metageneration: 1\r\n",
        etag(bytes)
    )
}

impl State {
    fn answer(&mut self, asked: &Request) -> Answer {
        if self.busy > 0 {
            self.busy -= 1;
            return error("503 Service Unavailable", "ServiceUnavailable");
        }
        let get = |name: &str| asked.query.get(name).map(String::as_str);
        let what = match (asked.method.as_str(), get("uploadId"), get("uploads")) {
            ("GET", ..) if asked.name.is_empty() => "list",
            ("POST", _, Some(_)) => "begin",
            (_, Some(_), _) => "part",
            _ => "object",
        };
        self.answered.push(format!("{} {what}", asked.method));
        match (asked.method.as_str(), what) {
            ("GET", "list") => self.list(asked),
            ("POST", "begin") => {
                let id = format!("upload-{}/+", self.answered.len());
                let begun = (asked.name.clone(), BTreeMap::new());
                self.uploads.insert(id.clone(), begun);
                xml(
                    "200 OK",
                    &format!(
                        "<InitiateMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
                        Google::BUCKET,
                        asked.name
                    ),
                )
            }
            (method, "part") => self.part(method, asked),
            ("PUT", _) => {
                let headers = about(&asked.body);
                self.objects.insert(asked.name.clone(), asked.body.clone());
                Answer {
                    status: "200 OK",
                    headers,
                    body: Vec::new(),
                }
            }
            ("GET" | "HEAD", _) => self.get(asked),
            ("DELETE", _) => match self.objects.remove(&asked.name) {
                Some(_) => Answer {
                    status: "204 No Content",
                    headers: String::new(),
                    body: Vec::new(),
                },
                None => error("404 Not Found", "NoSuchKey"),
            },
            _ => error("405 Method Not Allowed", "MethodNotAllowed"),
        }
    }

    fn list(&self, asked: &Request) -> Answer {
        let get = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
        let (prefix, after) = (get("prefix"), get("continuation-token"));
        let mut named =
            (self.objects.iter()).filter(|(name, _)| name.starts_with(&prefix) && **name > after);
        let mut text =
            "<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>".to_owned();
        let mut last = None;
        for (name, bytes) in named.by_ref().take(PAGE) {
            write!(text, "<Contents><Key>{name}</Key><Generation>1</Generation><LastModified>2026-07-01T12:00:00.000Z</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>", etag(bytes), bytes.len()).unwrap();
            last = Some(name);
        }
        match (named.next(), last) {
            (Some(_), Some(last)) => write!(text, "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>").unwrap(),
            _ => text += "<IsTruncated>false</IsTruncated>",
        }
        xml("200 OK", &(text + "</ListBucketResult>"))
    }

    fn part(&mut self, method: &str, asked: &Request) -> Answer {
        let id = &asked.query["uploadId"];
        let Some((name, parts)) = self.uploads.get_mut(id) else {
            return error("404 Not Found", "NoSuchUpload");
        };
        assert_eq!(*name, asked.name);
        match method {
            "PUT" => {
                let number = asked.query["partNumber"].parse().unwrap();
                let headers = about(&asked.body);
                parts.insert(number, asked.body.clone());
                Answer {
                    status: "200 OK",
                    headers,
                    body: Vec::new(),
                }
            }
            "DELETE" => {
                self.uploads.remove(id);
                Answer {
                    status: "204 No Content",
                    headers: String::new(),
                    body: Vec::new(),
                }
            }
            _ => {
                // The list of the parts must be the parts, each of 5 MiB at least but for the last.
                let said = String::from_utf8(asked.body.clone()).unwrap();
                let expected = parts.iter().all(|(number, bytes)| {
                    said.contains(&format!("<PartNumber>{number}</PartNumber>"))
                        && said.contains(&etag(bytes))
                });
                let short = parts
                    .values()
                    .rev()
                    .skip(1)
                    .any(|bytes| bytes.len() < 5 << 20);
                if !expected || short || said.matches("<Part>").count() != parts.len() {
                    return error("400 Bad Request", "InvalidPart");
                }
                let whole: Vec<u8> = parts.values().flatten().copied().collect();
                let answer = xml(
                    "200 OK",
                    &format!(
                        "<CompleteMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><ETag>{}</ETag></CompleteMultipartUploadResult>",
                        Google::BUCKET,
                        asked.name,
                        etag(&whole)
                    ),
                );
                self.uploads.remove(id);
                self.objects.insert(asked.name.clone(), whole);
                answer
            }
        }
    }

    fn get(&self, asked: &Request) -> Answer {
        let Some(bytes) = self.objects.get(&asked.name) else {
            return error("404 Not Found", "NoSuchKey");
        };
        let headers = about(bytes) + "Content-Type: application/octet-stream\r\n";
        let Some(range) = asked.headers.get("range") else {
            return Answer {
                status: "200 OK",
                headers,
                body: bytes.clone(),
            };
        };
        let (first, last) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let first: usize = first.parse().unwrap();
        let last = last
            .parse()
            .unwrap_or(usize::MAX)
            .min(bytes.len().saturating_sub(1));
        if first >= bytes.len() {
            return error("416 Requested Range Not Satisfiable", "InvalidRange");
        }
        Answer {
            status: "206 Partial Content",
            headers: format!(
                "{headers}Content-Range: bytes {first}-{last}/{}\r\n",
                bytes.len()
            ),
            body: bytes[first..=last].to_vec(),
        }
    }
}
