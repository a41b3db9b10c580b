//! Blocks that are appended to a blob.

use hyper::StatusCode;

use crate::resource::blob::{AppendConditions, BlobInfo, BlobPath};
use crate::server::reply::Reply;
use crate::server::stream::Source;

use super::Admitted;
use super::digest::Checked;
use super::fault::Fault;
use super::head::Head;
use super::out::Out;
use super::transfer::{checked_block, write_refused};

/// What Append Block says of where a block may go.
pub(super) fn conditions(head: &Head) -> Result<AppendConditions, Fault> {
    Ok(AppendConditions {
        position: head.number("x-ms-blob-condition-appendpos")?,
        max_size: head.number("x-ms-blob-condition-maxsize")?,
    })
}

/// The answer to Append Block, where the block begins at `offset`.
pub(super) fn appended(
    asked: &Admitted,
    blob: &BlobInfo,
    offset: u64,
    md5: Option<&[u8; 16]>,
) -> Reply {
    let mut out = Out::new(StatusCode::CREATED);
    out.written(asked, blob);
    if let Some(md5) = md5 {
        out.md5("content-md5", md5);
    }
    out.set("x-ms-blob-append-offset", &offset.to_string());
    out.set("x-ms-blob-committed-block-count", &blob.extents.to_string());
    out.done()
}

pub(super) fn block(asked: &Admitted, path: &BlobPath, mut source: Source) -> Result<Reply, Fault> {
    let head = &asked.head;
    if head.header("content-length")? == Some("0") {
        return Err(Fault::header("Content-Length"));
    }
    let mut checked = checked_block(asked, &mut source)?;
    let (at, conditions) = (conditions(head)?, head.conditions()?);
    let done = (asked.account).append(
        path,
        &mut source,
        asked.encryption(),
        &mut || checked.as_mut().map_or(Ok(()), |c| c.check().map(drop)),
        &at,
        &conditions,
    );
    checked.as_ref().map_or(Ok(()), Checked::agreed)?;
    let (blob, offset) = done.map_err(|e| write_refused(asked, &e))?;
    let md5 = checked.as_mut().map(Checked::md5);
    Ok(appended(asked, &blob, offset, md5.as_ref()))
}
