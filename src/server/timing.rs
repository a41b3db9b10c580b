//! Where the time of a request goes, told to a client that asks for it: only by a server that was started for that
//! (`atrest bench --explain vault`), since how long each step takes is not for everybody to know.

use std::future::{Future, poll_fn};

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use crate::base::{Moving, leave};

use super::reply::Reply;

/// Who sends this field asks.
const ASKS: &str = "atrest-timing";

/// Whether the client asks.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    headers.contains_key(ASKS)
}

/// Leaves the recording of this thread, also when what it records panics: nothing else is recorded in it.
struct Leaves;

impl Drop for Leaves {
    fn drop(&mut self) {
        let _ = leave();
    }
}

/// The answer; of a server that tells times, where it `is_asked`, with its parts in a `Server-Timing` field (W3C, Server
/// Timing). They are recorded in whatever thread works on it; between two of them it waits. Who passes work on to a
/// thread takes the recording along.
pub(super) async fn told(is_asked: Option<bool>, answer: impl Future<Output = Reply>) -> Reply {
    let Some(is_asked) = is_asked else {
        return answer.await;
    };
    let mut answer = Box::pin(answer);
    let mut moving = is_asked.then(Moving::begin);
    let mut reply = poll_fn(|context| {
        let _leaves = Leaves;
        if let Some(moving) = moving.take() {
            moving.go_on();
        }
        let polled = answer.as_mut().poll(context);
        // Another request's may have come with what this one waited for.
        moving = leave().filter(|_| is_asked);
        polled
    })
    .await;
    if let Some(moving) = moving {
        let timing = HeaderValue::from_str(&moving.end().to_server_timing());
        let headers = reply.headers_mut();
        headers.insert("server-timing", timing.expect("ASCII"));
    }
    reply
}

/// The job, which takes this thread's recording along, if there is one.
pub(super) fn carried(job: Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce() + Send> {
    match leave() {
        None => job,
        Some(moving) => Box::new(move || {
            let _leaves = Leaves;
            moving.go_on();
            job();
        }),
    }
}
