//! Blocks that are appended to a blob.

use hyper::StatusCode;

use crate::resource::blob::{AppendConditions, BlobInfo, BlobPath};
use crate::server::reply::Reply;
use crate::server::stream::Source;

use super::Admitted;
use super::digest::{Checked, expected};
use super::fault::Fault;
use super::head::Head;
use super::out::Out;
use super::transfer::write_refused;

/// What Append Block says of where a block may go.
pub(super) fn conditions(head: &Head) -> Result<AppendConditions, Fault> {
    Ok(AppendConditions {
        position: head.number("x-ms-blob-condition-appendpos")?,
        max_size: head.number("x-ms-blob-condition-maxsize")?,
    })
}

/// The answer to Append Block, where the block begins at `offset`.
pub(super) fn appended(asked: &Admitted, blob: &BlobInfo, offset: u64, md5: &[u8; 16]) -> Reply {
    let mut out = Out::new(StatusCode::CREATED);
    out.written(asked, blob);
    out.md5("content-md5", md5);
    out.set("x-ms-blob-append-offset", &offset.to_string());
    out.set("x-ms-blob-committed-block-count", &blob.extents.to_string());
    out.done()
}

pub(super) fn block(asked: &Admitted, path: &BlobPath, source: Source) -> Result<Reply, Fault> {
    let head = &asked.head;
    if head.header("content-length")? == Some("0") {
        return Err(Fault::header("Content-Length"));
    }
    let mut checked = Checked::new([expected(head, "content-md5")?]);
    let (at, conditions) = (conditions(head)?, head.conditions()?);
    let mut source = checked.reading(source);
    let done = (asked.account).append(
        path,
        &mut source,
        asked.encryption(),
        &mut || checked.check().map(drop),
        &at,
        &conditions,
    );
    checked.agreed()?;
    let (blob, offset) = done.map_err(|e| write_refused(asked, &e))?;
    Ok(appended(asked, &blob, offset, &checked.md5()))
}
