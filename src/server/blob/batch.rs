//! Several deletions, or changes of the access tier, in one request
//! (learn.microsoft.com/rest/api/storageservices/blob-batch). Each is authorized, done and answered for itself.

use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version};

use crate::server::registry::new_uuid;
use crate::server::reply::Reply;
use crate::server::shared::Shared;

use super::call::{BlobCall, Call};
use super::fault::Fault;
use super::head::Head;
use super::out::Out;
use super::perform::perform;
use super::{Address, Admitted, admit};

/// The most requests of a batch, and the longest batch (the service's limits).
const REQUESTS_MAX: usize = 256;
pub(super) const BODY_MAX: usize = 4 << 20;

/// A request of a batch, and what it is told from the others by.
pub(super) struct Part {
    pub(super) content_id: String,
    pub(super) request: Request<()>,
}

pub(super) fn run(
    shared: &Shared,
    name: &str,
    asked: &Admitted,
    body: &[u8],
) -> Result<Reply, Fault> {
    let parts = parts(&asked.head, body)?;
    let boundary = format!("batchresponse_{}", new_uuid());
    let mut answer = String::new();
    for part in parts {
        let (status, headers, body) = match one(shared, name, asked, part.request) {
            Ok(reply) => (reply.status(), reply.headers().clone(), Vec::new()),
            Err(fault) => {
                let headers = fault.reply().headers().clone();
                (fault.status, headers, fault.body())
            }
        };
        let reason = status.canonical_reason().unwrap_or_default();
        answer += &format!(
            "--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {}\r\n\r\n\
             HTTP/1.1 {} {reason}\r\n",
            part.content_id,
            status.as_u16()
        );
        for (name, value) in &headers {
            answer += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
        }
        answer += &format!("x-ms-request-id: {}\r\n", new_uuid());
        answer += &format!("Content-Length: {}\r\n\r\n", body.len());
        answer += &String::from_utf8_lossy(&body);
        answer += "\r\n";
    }
    answer += &format!("--{boundary}--\r\n");
    let mut out = Out::bytes(answer.into_bytes());
    out.status(StatusCode::ACCEPTED);
    out.set(
        "content-type",
        &format!("multipart/mixed; boundary={boundary}"),
    );
    Ok(out.done())
}

fn one(
    shared: &Shared,
    name: &str,
    asked: &Admitted,
    request: Request<()>,
) -> Result<Reply, Fault> {
    let (parts, ()) = request.into_parts();
    let address = match asked.head.is_in_path() {
        true => Address::InPath(name.to_owned()),
        false => Address::Host(name.to_owned()),
    };
    if let Address::InPath(name) = &address
        && parts
            .uri
            .path()
            .strip_prefix('/')
            .and_then(|p| p.split('/').next())
            != Some(name)
    {
        return Err(invalid());
    }
    let head = Head::new(parts, asked.head.origin, &address)?;
    let call = Call::of(&head)?;
    let Call::Blob(BlobCall::Delete | BlobCall::SetTier, path) = &call else {
        return Err(Fault::bad(
            "InvalidInput",
            "A batch deletes blobs, or changes their access tiers; nothing else.",
        ));
    };
    if let Call::Container(_, container) = &*asked.call
        && path.container != *container
    {
        return Err(invalid());
    }
    let admitted = admit(shared, name, &Arc::new(head), &Arc::new(call))?;
    perform(shared, name, &admitted, b"")
}

fn invalid() -> Fault {
    Fault::bad("InvalidInput", "One of the request inputs is not valid.")
}

/// The requests of a batch (RFC 2046, 5.1, and RFC 9112). A delimiter is a line.
pub(super) fn parts(head: &Head, body: &[u8]) -> Result<Vec<Part>, Fault> {
    let kind = head.header(CONTENT_TYPE.as_str())?.unwrap_or_default();
    let boundary = kind
        .split(';')
        .find_map(|part| part.trim().strip_prefix("boundary="));
    let boundary = boundary
        .map(|text| text.trim_matches('"'))
        .filter(|text| !text.is_empty());
    let boundary = boundary.ok_or_else(|| Fault::header("Content-Type"))?;
    let text = std::str::from_utf8(body).map_err(|_| invalid())?;
    let (delimiter, last) = (format!("--{boundary}"), format!("--{boundary}--"));
    let mut parts = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        // Spaces may follow a delimiter, and nothing else.
        let ended = line.trim_end_matches([' ', '\t']);
        if ended != delimiter && ended != last {
            if let Some(lines) = &mut open {
                lines.push(line);
            }
            continue;
        }
        if let Some(lines) = open.replace(Vec::new()) {
            if parts.len() == REQUESTS_MAX {
                let why = "A batch has at most 256 requests.";
                return Err(Fault::bad("ExceedsMaxBatchRequestCount", why));
            }
            parts.push(part(&lines).ok_or_else(invalid)?);
        }
        if ended == last {
            return Ok(parts);
        }
    }
    // Without its end it was cut off.
    Err(invalid())
}

fn part(lines: &[&str]) -> Option<Part> {
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()?;
        Some((name, value))
    };
    let mut lines = lines.iter();
    let mut content_id = String::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let (name, value) = header(line)?;
        if name == "content-id" {
            content_id = value.to_str().ok()?.to_owned();
        }
    }
    if !content_id.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let mut lines = lines.skip_while(|line| line.is_empty());
    let mut first = lines.next()?.split(' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    // A fragment is no part of a target (RFC 9112, 3.2).
    let is_target = target.starts_with('/') && !target.contains('#');
    if version != "HTTP/1.1" || first.next().is_some() || !is_target {
        return None;
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = target.parse::<Uri>().ok()?;
    *request.version_mut() = Version::HTTP_11;
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = header(line)?;
        request.headers_mut().append(name, value);
    }
    Some(Part {
        content_id,
        request,
    })
}
