//! Blobs and blocks that are made of other blobs. All are there when the request is answered, those of Copy
//! Blob, too, which Azure may make later.

use std::io::Read;

use hyper::StatusCode;

use crate::resource::ResourceError;
use crate::resource::blob::{
    Attributes, BlobInfo, BlobPath, BlobStatus, Copied, Etag, Properties, Refusal, UnderKey,
};
use crate::server::registry::new_uuid;
use crate::server::reply::Reply;

use super::call::BlobCall;
use super::digest::{Checked, Sum, expected, mismatch};
use super::fault::Fault;
use super::out::Out;
use super::range::ByteRange;
use super::source::Source;
use super::transfer::{APPEND_MAX, BLOCK_MAX, tags, too_large, write_conditions, write_refused};
use super::{Admitted, append};

fn source(asked: &Admitted) -> Result<&Source, Fault> {
    let source = asked.source.as_ref();
    source.ok_or_else(|| Fault::header("x-ms-copy-source"))
}

/// Copy Blob, Copy Blob From URL, and Put Blob From URL.
pub(super) fn copy(asked: &Admitted, call: BlobCall, path: &BlobPath) -> Result<Reply, Fault> {
    let (head, account) = (&asked.head, &asked.account);
    let source = source(asked)?;
    let (metadata, own_tags) = (head.metadata()?, tags(head)?);
    let copies_tags = match head.header("x-ms-copy-source-tag-option")? {
        None | Some("REPLACE") => false,
        Some("COPY") if own_tags.is_empty() => true,
        Some(_) => return Err(Fault::header("x-ms-copy-source-tag-option")),
    };
    let puts = call == BlobCall::PutFromUrl;
    let own_properties = head.properties(false)?;
    let copies_properties =
        !puts || head.header("x-ms-copy-source-blob-properties")? != Some("false");
    let id = new_uuid().to_string();
    let (tier, now) = (head.tier()?, account.now());
    let seals = head.header("x-ms-seal-blob")? == Some("true");
    let verified = verified(asked, source)?;
    let mut said = |blob: &BlobInfo, of: Attributes| {
        if verified.is_some_and(|verified| verified != blob.etag) {
            return Err(Refusal::SourceConditionNotMet.into());
        }
        let mut attributes = Attributes {
            metadata: match metadata.is_empty() {
                true => of.metadata,
                false => metadata.clone(),
            },
            tags: match copies_tags {
                true => of.tags,
                false => own_tags.clone(),
            },
            ..of
        };
        if puts {
            let of = match copies_properties {
                true => std::mem::take(&mut attributes.properties),
                false => Properties::default(),
            };
            let own = own_properties.clone();
            attributes.properties = Properties {
                content_type: own.content_type.or(of.content_type),
                content_encoding: own.content_encoding.or(of.content_encoding),
                content_language: own.content_language.or(of.content_language),
                content_disposition: own.content_disposition.or(of.content_disposition),
                cache_control: own.cache_control.or(of.cache_control),
            };
        }
        let copied = Copied {
            id: id.clone(),
            source: source.url.clone(),
            completed: now,
            bytes: blob.size,
        };
        let status = BlobStatus {
            append: blob.status.append && !puts,
            sealed: blob.status.append && seals,
            tier: tier.map(|tier| (tier, now)),
            copy: (!puts).then_some(copied),
        };
        Ok((attributes, status))
    };
    let conditions = write_conditions(asked)?;
    let copied = account.copy(
        &source.blob(),
        path,
        asked.encryption(),
        &conditions,
        &mut said,
    );
    let blob = copied.map_err(|e| write_refused(asked, &e))?;
    let mut out = Out::new(match puts {
        true => StatusCode::CREATED,
        false => StatusCode::ACCEPTED,
    });
    out.written(asked, &blob);
    if !puts {
        out.set("x-ms-copy-id", &id);
        out.set("x-ms-copy-status", "success");
    }
    Ok(out.done())
}

/// The state in which the source has the digest that the request says, if it says one.
fn verified(asked: &Admitted, source: &Source) -> Result<Option<Etag>, Fault> {
    let Some(right) = expected(&asked.head, "x-ms-source-content-md5")? else {
        return Ok(None);
    };
    let of = |e: ResourceError| Fault::of(&e, false, false);
    let from = source.blob();
    let reader = from.reader(&mut |blob| Ok(0..blob.size)).map_err(of)?;
    let mut sum = Sum::new();
    reader.read(&mut sum, &mut |_| ()).map_err(of)?;
    match sum.md5() == right {
        true => Ok(Some(reader.info().etag)),
        false => Err(mismatch()),
    }
}

/// Put Block From URL.
pub(super) fn block(asked: &Admitted, path: &BlobPath) -> Result<Reply, Fault> {
    let id = asked.head.block_id()?;
    let lease = asked.head.lease_id("x-ms-lease-id")?;
    let (mut under, mut scope) = (UnderKey::default(), None);
    let md5 = fed(asked, BLOCK_MAX, &mut |source, check| {
        let encryption = asked.encryption();
        let put = (asked.account).put_block_under(path, &id, source, encryption, check, lease)?;
        (under, scope) = (put.under, put.scope);
        Ok(())
    })?;
    let mut out = Out::new(StatusCode::CREATED);
    out.md5("content-md5", &md5);
    out.encryption(
        "x-ms-request-server-encrypted",
        asked,
        under,
        scope.as_ref(),
    );
    Ok(out.done())
}

/// Append Block From URL.
pub(super) fn appended(asked: &Admitted, path: &BlobPath) -> Result<Reply, Fault> {
    let (at, conditions) = (append::conditions(&asked.head)?, asked.head.conditions()?);
    let mut done = None;
    let md5 = fed(asked, APPEND_MAX, &mut |source, check| {
        done = Some((asked.account).append(
            path,
            source,
            asked.encryption(),
            check,
            &at,
            &conditions,
        )?);
        Ok(())
    })?;
    let (blob, offset) = done.ok_or_else(|| Fault::header("x-ms-copy-source"))?;
    Ok(append::appended(asked, &blob, offset, Some(&md5)))
}

/// Reads the part of the source that `x-ms-source-range` names, of at most `max` bytes, into `put`, whose
/// check fails when the digest is not the one that the request says; the digest.
fn fed(asked: &Admitted, max: u64, put: &mut Put<'_>) -> Result<[u8; 16], Fault> {
    let (head, source) = (&asked.head, source(asked)?);
    let right = expected(head, "x-ms-source-content-md5")?;
    let (mut checked, digest) = Checked::inline([right]);
    let range = ByteRange::of_source(head)?;
    let mut refused = None;
    let from = source.blob();
    let reader = from.reader(&mut |blob| {
        let part = match range {
            None => Some(0..blob.size),
            Some(range) => range.within(blob.size),
        };
        refused = Some(match part {
            Some(part) if part.end - part.start <= max => return Ok(part),
            Some(_) => too_large(),
            None => Fault::range(blob.size),
        });
        Err(ResourceError::Usage("there is no such part".into()))
    });
    let reader = match refused {
        Some(fault) => return Err(fault),
        None => reader.map_err(|e| Fault::of(&e, false, false))?,
    };
    let fed = reader.feed(|source| {
        let mut source = digest.reading(source);
        put(&mut source, &mut || checked.check().map(drop))
    });
    checked.agreed()?;
    fed.map_err(|e| match e {
        ResourceError::BadBlock(why) => Fault::bad("InvalidBlobOrBlock", why),
        e => write_refused(asked, &e),
    })?;
    Ok(checked.md5())
}

type Put<'a> = dyn FnMut(
        &mut (dyn Read + Send),
        &mut dyn FnMut() -> Result<(), ResourceError>,
    ) -> Result<(), ResourceError>
    + 'a;
