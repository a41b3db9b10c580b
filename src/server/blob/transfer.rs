//! Blobs on their way in and out, in constant memory: a thread that may block seals or opens them, and
//! waits for the client as the client waits for it. Short ones are whole before that, and need none where nothing has to
//! be waited for.
//!
//! Over 400 lines because both directions, and every kind of body, share its limits, its turns and its refusals.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Either};
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Incoming};
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use crate::resource::ResourceError;
use crate::resource::blob::{
    Attributes, BlobInfo, BlobPath, BlobReader, CHUNK_LEN, Conditions, Matching, Pairs, WrittenBlob,
};
use crate::server::reply::Reply;
use crate::server::shared::Shared;
use crate::server::stream::{Piece, Source, answer, source};

use super::call::{BlobCall, Call};
use super::digest::{Checked, expected, md5};
use super::fault::Fault;
use super::head::Head;
use super::out::Out;
use super::range::ByteRange;
use super::sas::permission_mismatch;
use super::{Admitted, append, blocking, now, version, xml};

/// How long a client may take to send a piece.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest blob of one piece, and the longest block (the service's limits).
const BLOB_MAX: u64 = 5000 << 20;
pub(super) const BLOCK_MAX: u64 = 4000 << 20;
/// Shorter bodies are read before they are written, and shorter answers before they begin.
const SHORT_MAX: u64 = 256 << 10;
/// From here on the answer of a block tells its MD5 only when the request did.
const DIGEST_ASKED_FOR: &str = "2019-02-02";
/// The longest list of blocks: of 50,000.
pub(super) const BLOCK_LIST_MAX: usize = 8 << 20;
/// The longest other body that is no blob: ten tags.
pub(super) const SMALL_MAX: usize = 64 << 10;
/// The longest range whose digest is asked for (the service's limit).
const DIGEST_MAX: u64 = 4 << 20;
/// What a client may still send after it was refused, so that it gets to read why.
const DRAIN_MAX: usize = 256 << 20;
/// The same where the request was refused before its body was looked at, perhaps of nobody that is known:
/// what Python's client sends at once by default.
const DRAIN_REFUSED_MAX: usize = 64 << 20;
/// The longest block that is appended (the service's limit).
pub(super) const APPEND_MAX: u64 = 100 << 20;

/// A turn to send or take a blob. Who takes it slowly keeps it: others wait, but not for ever.
pub(super) async fn turn(shared: &Shared) -> Result<OwnedSemaphorePermit, Fault> {
    let turn = shared.storage.transfers.clone().acquire_owned();
    match timeout(PATIENCE, turn).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Fault::busy()),
    }
}

/// Takes what a client sends whose request is refused already, within bounds: else many would see that the
/// connection breaks off, and not why.
pub(super) async fn drain(mut body: Incoming) {
    let drained = async {
        let mut drained = 0;
        while let Ok(Some(bytes)) = next(&mut body).await {
            drained += bytes.len();
            if drained > DRAIN_REFUSED_MAX {
                return;
            }
        }
    };
    let _ = timeout(PATIENCE, drained).await;
}

/// A body of at most `max` bytes.
pub(super) async fn small(mut body: Incoming, max: usize) -> Result<Vec<u8>, Fault> {
    let expected = body.size_hint().lower().min(SHORT_MAX);
    let mut all = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    while let Some(bytes) = next(&mut body).await? {
        if all.len() + bytes.len() > max {
            drain(body).await;
            return Err(too_large());
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

pub(super) fn too_large() -> Fault {
    let why = "The request body is too large and exceeds the maximum permissible limit.";
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", why)
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Fault> {
    loop {
        match timeout(PATIENCE, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Ok(Some(Err(_))) => return Err(Fault::bad("IncompleteBody", "The body was cut off.")),
            Err(_) => {
                let why = "The body did not arrive in time.";
                let status = StatusCode::REQUEST_TIMEOUT;
                return Err(Fault::new(status, "OperationTimedOut", why));
            }
        }
    }
}

/// Put Blob, Put Block and Append Block.
pub(super) async fn receive(
    shared: &Arc<Shared>,
    asked: Arc<Admitted>,
    mut body: Incoming,
) -> Result<Reply, Fault> {
    if length(&asked).is_ok_and(|length| length <= SHORT_MAX) {
        // Who sends slowly has no turn yet.
        let body = Bytes::from(small(body, usize::MAX).await?);
        let permit = turn(shared).await?;
        if let Some(done) = put_at_once(shared, &asked, &body).await {
            return done;
        }
        return blocking(move || {
            let _permit = permit;
            write(&asked, Source::whole(body))
        })
        .await;
    }
    let permit = turn(shared).await?;
    let (sender, source) = source();
    let written = tokio::spawn(blocking(move || {
        let _permit = permit;
        write(&asked, source)
    }));
    let sent = feed(&mut body, sender).await;
    let written = written.await;
    let written =
        written.unwrap_or_else(|panicked| Err(Fault::internal(&panicked, "the server failed")));
    // A body that broke off is the cause of what the thread found.
    sent.and(written)
}

/// Puts a short blob among others: this thread writes it, and one for all of them makes them durable. `None` when that has
/// to be done by a thread that may wait.
async fn put_at_once(
    shared: &Shared,
    asked: &Arc<Admitted>,
    body: &Bytes,
) -> Option<Result<Reply, Fault>> {
    let Call::Blob(BlobCall::Put, path) = &*asked.call else {
        return None;
    };
    if body.len() > CHUNK_LEN || !asked.account.has_writers() {
        return None;
    }
    let written = now(|| write_blob(asked, path, Source::whole(body.clone())))?;
    let (blob, checked) = match written {
        Ok(written) => written,
        Err(fault) => return Some(Err(fault)),
    };
    let (sender, committed) = oneshot::channel();
    let tell = Box::new(move |committed| drop(sender.send(committed)));
    (asked.account).commit_later(blob, &shared.storage.runner, tell);
    let committed = committed.await;
    let committed =
        committed.map_err(|gone| Fault::internal(&gone, "the thread that commits blobs failed"));
    Some(committed.and_then(|committed| put_reply(asked, committed, checked)))
}

async fn feed(body: &mut Incoming, sender: Sender<Piece>) -> Result<(), Fault> {
    let (mut refused, mut drained) = (false, 0);
    while let Some(bytes) = next(body).await? {
        if refused {
            drained += bytes.len();
            if drained > DRAIN_MAX {
                return Ok(());
            }
        } else {
            refused = sender.send(Piece::Bytes(bytes)).await.is_err();
        }
    }
    let _ = sender.send(Piece::End).await;
    Ok(())
}

/// How many bytes will come: HTTP sees to it that not more do.
fn length(asked: &Admitted) -> Result<u64, Fault> {
    let max = match &*asked.call {
        Call::Blob(BlobCall::Put, _) => BLOB_MAX,
        Call::Blob(BlobCall::AppendBlock, _) => APPEND_MAX,
        _ => BLOCK_MAX,
    };
    match asked.head.header("content-length")?.map(str::parse) {
        Some(Ok(length)) if length <= max => Ok(length),
        Some(Ok(_)) => Err(too_large()),
        Some(Err(_)) => Err(Fault::header("Content-Length")),
        None => {
            let status = StatusCode::LENGTH_REQUIRED;
            let why = "The Content-Length header was not specified.";
            Err(Fault::new(status, "MissingContentLengthHeader", why))
        }
    }
}

fn write(asked: &Admitted, source: Source) -> Result<Reply, Fault> {
    let Call::Blob(call, path) = &*asked.call else {
        return Err(Fault::not_here("this operation"));
    };
    length(asked)?;
    match call {
        BlobCall::Put => put(asked, path, source),
        BlobCall::AppendBlock => append::block(asked, path, source),
        _ => put_block(asked, path, source),
    }
}

/// The conditions of a write, which makes only what is not there yet where no more is allowed.
pub(super) fn write_conditions(asked: &Admitted) -> Result<Conditions, Fault> {
    let mut conditions = asked.head.conditions()?;
    if asked.access.only_new {
        conditions.if_none_match = Some(Matching::Any);
    }
    Ok(conditions)
}

/// What the account refused to write.
pub(super) fn write_refused(asked: &Admitted, error: &ResourceError) -> Fault {
    match error {
        ResourceError::Exists(_) if asked.access.only_new => permission_mismatch(),
        e => Fault::of(e, false, false),
    }
}

/// The index tags of `x-ms-tags`.
pub(super) fn tags(head: &Head) -> Result<Pairs, Fault> {
    let text = head.header("x-ms-tags")?.unwrap_or_default();
    xml::checked_tags(
        form_urlencoded::parse(text.as_bytes())
            .into_owned()
            .collect(),
    )
}

/// The digest of the body of a block, where somebody wants it.
pub(super) fn checked_block(
    asked: &Admitted,
    source: &mut Source,
) -> Result<Option<Checked>, Fault> {
    let right = expected(&asked.head, "content-md5")?;
    match right.is_some() || version(&asked.head)? < DIGEST_ASKED_FOR {
        true => Ok(Some(Checked::of([right], source, length(asked)?)?)),
        false => Ok(None),
    }
}

fn put(asked: &Admitted, path: &BlobPath, source: Source) -> Result<Reply, Fault> {
    let (blob, checked) = write_blob(asked, path, source)?;
    put_reply(asked, asked.account.commit(blob), checked)
}

/// Takes the body of Put Blob, so far that it only has to be committed.
fn write_blob(
    asked: &Admitted,
    path: &BlobPath,
    mut source: Source,
) -> Result<(WrittenBlob, Checked), Fault> {
    let head = &asked.head;
    let right = [
        expected(head, "content-md5")?,
        expected(head, "x-ms-blob-content-md5")?,
    ];
    let said = Attributes {
        properties: head.properties(true)?,
        tags: tags(head)?,
        metadata: head.metadata()?,
        content_md5: None,
        tier: head.tier()?,
    };
    let conditions = write_conditions(asked)?;
    let mut checked = Checked::of(right, &mut source, length(asked)?)?;
    let mut attributes = || {
        let content_md5 = Some(checked.check()?);
        Ok(Attributes {
            content_md5,
            ..said.clone()
        })
    };
    let written = asked.account.write_blob(
        path,
        &mut source,
        asked.encryption(),
        &conditions,
        &mut attributes,
        &mut |_| (),
    );
    checked.agreed()?;
    let written = written.map_err(|e| write_refused(asked, &e))?;
    Ok((written, checked))
}

fn put_reply(
    asked: &Admitted,
    put: Result<BlobInfo, ResourceError>,
    mut checked: Checked,
) -> Result<Reply, Fault> {
    let blob = put.map_err(|e| write_refused(asked, &e))?;
    let mut out = Out::new(StatusCode::CREATED);
    out.written(asked, &blob);
    out.md5("content-md5", &checked.md5());
    Ok(out.done())
}

fn put_block(asked: &Admitted, path: &BlobPath, mut source: Source) -> Result<Reply, Fault> {
    let head = &asked.head;
    let id = head.block_id()?;
    if head.header("content-length")? == Some("0") {
        return Err(Fault::header("Content-Length"));
    }
    let mut checked = checked_block(asked, &mut source)?;
    let mut check = || checked.as_mut().map_or(Ok(()), |c| c.check().map(drop));
    let lease = head.lease_id("x-ms-lease-id")?;
    let encryption = asked.encryption();
    let put =
        (asked.account).put_block_under(path, &id, &mut source, encryption, &mut check, lease);
    checked.as_ref().map_or(Ok(()), Checked::agreed)?;
    let put = put.map_err(|e| match e {
        ResourceError::BadBlock(why) => Fault::bad("InvalidBlobOrBlock", why),
        e => write_refused(asked, &e),
    })?;
    let mut out = Out::new(StatusCode::CREATED);
    if let Some(checked) = &mut checked {
        out.md5("content-md5", &checked.md5());
    }
    out.encryption(
        "x-ms-request-server-encrypted",
        asked,
        put.under,
        put.scope.as_ref(),
    );
    Ok(out.done())
}

/// Get Blob. What is short is answered when all of it is authentic. Else the head is sent when the blob's manifest
/// is, each piece when its chunk is, and what fails after that cuts the answer off before the length that its head
/// says.
pub(super) async fn send(shared: &Arc<Shared>, asked: Arc<Admitted>) -> Result<Reply, Fault> {
    if let Some(Some(reply)) = now(|| send_short(&asked)) {
        return reply;
    }
    let permit = turn(shared).await?;
    let (begun, head) = oneshot::channel();
    let (sink, body) = answer();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let reader = match reader(&asked) {
            Ok(reader) => reader,
            Err(fault) => {
                let _ = begun.send(Err(fault));
                return;
            }
        };
        match begin(&asked, &reader) {
            Ok((reply, whole)) => {
                if begun.send(Ok((reply, whole))).is_err() || whole {
                    return;
                }
            }
            Err(fault) => {
                let _ = begun.send(Err(fault));
                return;
            }
        }
        if let Err(error) = reader.read_pieces(&mut |piece| sink.send(Bytes::from_owner(piece))) {
            tracing::warn!(%error, "a blob was not sent to its end");
            sink.fail(&error);
        }
    });
    let begun = head.await;
    let begun = begun
        .unwrap_or_else(|gone| Err(Fault::internal(&gone, "a thread that reads a blob failed")));
    let (reply, whole) = begun?;
    Ok(match whole {
        true => reply,
        false => reply.map(|_| Either::Right(body)),
    })
}

/// The answer of what is short, and every refusal; `None` of what is long.
fn send_short(asked: &Admitted) -> Option<Result<Reply, Fault>> {
    let begun = reader(asked).and_then(|reader| {
        let range = reader.range();
        match range.end - range.start <= SHORT_MAX {
            true => begin(asked, &reader).map(|(reply, _)| Some(reply)),
            false => Ok(None),
        }
    });
    begun.transpose()
}

fn reader(asked: &Admitted) -> Result<BlobReader<'_>, Fault> {
    let Call::Blob(_, path) = &*asked.call else {
        return Err(Fault::not_here("this operation"));
    };
    let range = ByteRange::of(&asked.head)?;
    let conditions = asked.head.conditions()?;
    let mut outside = None;
    let reader = (asked.account).reader(
        asked.at(path)?,
        asked.encryption(),
        &conditions,
        &mut |blob| match range {
            None => Ok(0..blob.size),
            Some(range) => range.within(blob.size).ok_or_else(|| {
                outside = Some(blob.size);
                ResourceError::Usage("the range lies outside".into())
            }),
        },
    );
    match outside {
        Some(length) => Err(Fault::range(length)),
        None => reader.map_err(|e| Fault::of(&e, true, false)),
    }
}

/// The head of the answer, and whether its body is there already.
fn begin(asked: &Admitted, reader: &BlobReader<'_>) -> Result<(Reply, bool), Fault> {
    let (head, blob, said) = (&asked.head, reader.info(), reader.attributes());
    let range = reader.range();
    let is_part = ByteRange::of(head)?.is_some();
    let mut out = Out::new(match is_part {
        true => StatusCode::PARTIAL_CONTENT,
        false => StatusCode::OK,
    });
    out.blob(asked, blob, &said)?;
    out.set("content-length", &(range.end - range.start).to_string());
    if is_part {
        let (first, last) = (range.start, range.end - 1);
        out.set(
            "content-range",
            &format!("bytes {first}-{last}/{}", blob.size),
        );
    }
    if let Some(md5) = &said.content_md5 {
        out.md5(
            if is_part {
                "x-ms-blob-content-md5"
            } else {
                "content-md5"
            },
            md5,
        );
    }
    let wants_md5 = head.header("x-ms-range-get-content-md5")? == Some("true");
    let length = range.end - range.start;
    if wants_md5 && (!is_part || length > DIGEST_MAX) {
        return Err(Fault::header("x-ms-range-get-content-md5"));
    }
    if !wants_md5 && length > SHORT_MAX {
        return Ok((out.done(), false));
    }
    // One piece is sent as it is; of many, which may be short ones in long buffers, none is kept.
    let (mut only, mut all) = (None, Vec::new());
    let read = reader.read_pieces(&mut |piece| {
        match piece.as_ref().len() as u64 == length {
            true => only = Some(Bytes::from_owner(piece)),
            false => all.extend_from_slice(piece.as_ref()),
        }
        Ok(())
    });
    read.map_err(|e| Fault::of(&e, true, false))?;
    let bytes = only.unwrap_or_else(|| all.into());
    if wants_md5 {
        out.md5("content-md5", &md5(&bytes));
    }
    let reply = out.done();
    Ok((reply.map(|_| Either::Left(bytes.into())), true))
}
