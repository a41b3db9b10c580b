//! Answers, and how the bodies of requests are read.

use std::time::Duration;

use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::stream::Stream;

/// An answer.
pub(super) type Reply = Response<Body>;
/// What an answer holds: bytes, or a stream of them.
pub(super) type Body = Either<Full<Bytes>, Stream>;
/// The answer that ends a request early.
pub(super) type Refusal = Box<Reply>;

/// What an answer is found by (`x-ms-request-id`). Random.
#[derive(Clone, Copy)]
pub(super) struct RequestId(pub(super) uuid::Uuid);

impl RequestId {
    pub(super) fn new() -> Self {
        let random = crate::crypto::random_bytes();
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }
}

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Marks an answer that is not sent: the connection is closed instead.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the connection is closed on purpose")]
pub(super) struct Reset;

/// What was injected into an answer; the log tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct Injected(Vec<String>);

impl Injected {
    pub(super) fn add(&mut self, rule: &str) {
        self.0.push(rule.to_owned());
    }

    /// `reply`, marked.
    pub(super) fn on(self, mut reply: Reply) -> Reply {
        if !self.0.is_empty() {
            reply.extensions_mut().insert(self);
        }
        reply
    }

    /// What is marked on `reply`, for the log.
    pub(super) fn shown(reply: &Reply) -> String {
        let marks = reply.extensions().get::<Self>();
        marks.map_or_else(|| "-".to_owned(), |marks| marks.0.join(" "))
    }
}

/// An answer of these bytes.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Reply {
    Response::new(Either::Left(Full::new(bytes.into())))
}

/// An answer in JSON that no cache keeps.
pub(super) fn json_reply(status: StatusCode, value: &Value) -> Reply {
    let mut reply = whole(value.to_string());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(CONTENT_TYPE, json);
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    reply
}

/// Plain text.
pub(super) fn text_reply(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = whole(text);
    *reply.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, plain);
    reply
}

/// The code and message of an [`error_reply`], among its extensions.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) code: String,
    pub(super) message: String,
}

/// An error in the shape of Azure's services.
pub(super) fn error_reply(
    status: StatusCode,
    code: &str,
    inner: Option<&str>,
    message: &str,
) -> Reply {
    let mut error = json!({ "code": code, "message": message });
    if let Some(inner) = inner {
        error["innererror"] = json!({ "code": inner });
    }
    let mut reply = json_reply(status, &json!({ "error": error }));
    reply.extensions_mut().insert(Told {
        code: inner.unwrap_or(code).to_owned(),
        message: message.to_owned(),
    });
    reply
}

/// A body of at most `limit` bytes.
pub(super) async fn body(from: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(from, limit).collect()).await;
    let failed = |status, why: &str| {
        let reply = error_reply(status, "BadParameter", None, why);
        Err(Box::new(reply))
    };
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => failed(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("The body is longer than {limit} bytes."),
        ),
        Ok(Err(_)) => failed(StatusCode::BAD_REQUEST, "The body was cut off."),
        Err(_) => failed(
            StatusCode::REQUEST_TIMEOUT,
            "The body did not arrive in time.",
        ),
    }
}

/// The parameters of a query or a form, decoded; names too.
pub(super) fn parameters(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}

/// The one parameter `name`; `None` when it is missing or there twice.
pub(super) fn one<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = parameters.iter().filter(|(n, _)| n == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}
