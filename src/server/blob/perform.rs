//! The operations whose requests and answers are short.

use hyper::StatusCode;

use crate::resource::ResourceError;
use crate::resource::blob::{
    Attributes, BlobPath, Conditions, ContainerName, Leasable, Refusal, Snapshots,
};
use crate::server::reply::Reply;
use crate::server::shared::Shared;

use super::Admitted;
use super::call::{AccountCall, BlobCall, Call, ContainerCall};
use super::digest::expected;
use super::fault::Fault;
use super::head::Head;
use super::out::Out;
use super::storage::is_encrypted;
use super::transfer::{tags, write_conditions, write_refused};
use super::{append, batch, copy, delegation, encryption, find, lease, list, policy, service, xml};

/// Does what was asked for of the account `name`.
pub(super) fn perform(
    shared: &Shared,
    name: &str,
    asked: &Admitted,
    body: &[u8],
) -> Result<Reply, Fault> {
    match &*asked.call {
        Call::Account(AccountCall::Batch) | Call::Container(ContainerCall::Batch, _) => {
            batch::run(shared, name, asked, body)
        }
        Call::Account(AccountCall::DelegationKey) => delegation::issue(shared, asked, body),
        Call::Account(call) => on_account(name, asked, *call, body),
        Call::Container(call, container) => on_container(name, asked, *call, container, body),
        Call::Blob(call, path) => on_blob(asked, *call, path, body),
    }
}

fn on_account(
    name: &str,
    asked: &Admitted,
    call: AccountCall,
    body: &[u8],
) -> Result<Reply, Fault> {
    let account = &asked.account;
    let of = |e: ResourceError| Fault::of(&e, asked.call.reads(), true);
    Ok(match call {
        AccountCall::ListContainers => {
            Out::xml(list::containers(name, &asked.account, &asked.head)?)
        }
        AccountCall::Information => {
            let mut out = Out::new(StatusCode::OK);
            out.set("x-ms-sku-name", "Standard_LRS");
            out.set("x-ms-account-kind", "StorageV2");
            out.set("x-ms-is-hns-enabled", "false");
            out
        }
        AccountCall::Properties => {
            let properties = account.service_properties().map_err(of)?;
            Out::xml(service::document(&properties))
        }
        AccountCall::SetProperties => {
            let given = service::read(body)?;
            account.set_service_properties(given).map_err(of)?;
            Out::new(StatusCode::ACCEPTED)
        }
        AccountCall::FindByTags => Out::xml(find::by_tags(name, account, None, &asked.head)?),
        AccountCall::DelegationKey | AccountCall::Batch => {
            return Err(Fault::not_here("this operation"));
        }
    }
    .done())
}

fn on_container(
    name: &str,
    asked: &Admitted,
    call: ContainerCall,
    container: &ContainerName,
    body: &[u8],
) -> Result<Reply, Fault> {
    let (account, head) = (&asked.account, &asked.head);
    let of = |e: ResourceError| Fault::of(&e, asked.call.reads(), true);
    let mut out = Out::new(match call {
        ContainerCall::Create => StatusCode::CREATED,
        ContainerCall::Delete => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    });
    match call {
        ContainerCall::Create => {
            refuse_public(head)?;
            let scope = encryption::container_scope(head)?;
            let made = account.create_container_under(container, &head.metadata()?, scope.as_ref());
            let made = made.map_err(of)?;
            out.state(made.etag, made.modified);
        }
        ContainerCall::Delete => account
            .delete_container(container, &head.conditions()?)
            .map_err(of)?,
        ContainerCall::Get => {
            let found = account.container_under(container, &under_lease(head)?);
            out.container(&found.map_err(of)?, account.now());
        }
        ContainerCall::Lease => return lease::change(asked, Leasable::Container(container)),
        ContainerCall::GetAcl => {
            let found = account.policies(container, &under_lease(head)?);
            let (found, policies) = found.map_err(of)?;
            out = Out::xml(policy::document(&policies));
            out.state(found.etag, found.modified);
        }
        ContainerCall::SetAcl => {
            refuse_public(head)?;
            let policies = policy::read(body)?;
            let set = account.set_policies(container, &policies, &head.conditions()?);
            let set = set.map_err(of)?;
            out.state(set.etag, set.modified);
        }
        ContainerCall::FindByTags => {
            let name = name.to_owned();
            out = Out::xml(find::by_tags(&name, account, Some(container), head)?);
        }
        ContainerCall::Batch => return Err(Fault::not_here("this operation")),
        ContainerCall::SetMetadata => {
            let (metadata, conditions) = (head.metadata()?, head.conditions()?);
            let set = account.set_container_metadata(container, &metadata, &conditions);
            let set = set.map_err(of)?;
            out.state(set.etag, set.modified);
        }
        ContainerCall::List => {
            let encrypted = is_encrypted(account);
            out = Out::xml(list::blobs(name, account, container, encrypted, head)?);
        }
    }
    Ok(out.done())
}

/// Everybody's access to a container, which is not there.
fn refuse_public(head: &Head) -> Result<(), Fault> {
    let access = head.header("x-ms-blob-public-access")?;
    match access.is_some_and(|access| access != "container-none") {
        false => Ok(()),
        true => Err(Fault::new(
            StatusCode::CONFLICT,
            "PublicAccessNotPermitted",
            "Public access is not permitted on this storage account.",
        )),
    }
}

/// No condition but the lease that is shown.
fn under_lease(head: &Head) -> Result<Conditions, Fault> {
    Ok(Conditions {
        lease: head.lease_id("x-ms-lease-id")?,
        ..Conditions::default()
    })
}

fn on_blob(asked: &Admitted, call: BlobCall, path: &BlobPath, body: &[u8]) -> Result<Reply, Fault> {
    let (account, head) = (&asked.account, &asked.head);
    let of = |e: ResourceError| Fault::of(&e, asked.call.reads(), false);
    let mut out = Out::new(match call {
        BlobCall::PutBlockList | BlobCall::Snapshot | BlobCall::CreateAppend => StatusCode::CREATED,
        BlobCall::Delete => StatusCode::ACCEPTED,
        BlobCall::SetTags => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    });
    match call {
        BlobCall::PutBlockList => {
            if let Some(right) = expected(head, "content-md5")?
                && right != super::digest::md5(body)
            {
                return Err(super::digest::mismatch());
            }
            let said = Attributes {
                properties: head.properties(false)?,
                tags: tags(head)?,
                metadata: head.metadata()?,
                content_md5: expected(head, "x-ms-blob-content-md5")?,
                tier: head.tier()?,
            };
            let blocks = xml::read_block_list(body)?;
            let conditions = write_conditions(asked)?;
            let put = account.put_block_list(path, &blocks, &said, asked.encryption(), &conditions);
            out.written(asked, &put.map_err(|e| write_refused(asked, &e))?);
        }
        BlobCall::GetBlockList => {
            let kind = head.query("blocklisttype")?.unwrap_or("committed");
            let (committed, uncommitted) = match kind.to_ascii_lowercase().as_str() {
                "committed" => (true, false),
                "uncommitted" => (false, true),
                "all" => (true, true),
                _ => {
                    let why = "The value of the query parameter blocklisttype is invalid.";
                    return Err(Fault::bad("InvalidQueryParameterValue", why));
                }
            };
            let listed = account.block_list(asked.at(path)?).map_err(of)?;
            if head.headers.contains_key("x-ms-lease-id") {
                let under = account.info_under(asked.at(path)?, &under_lease(head)?);
                under.map_err(of)?;
            }
            out = Out::xml(xml::block_list(&listed, committed, uncommitted));
            if let Some(blob) = &listed.blob {
                out.state(blob.etag, blob.modified);
                out.set("x-ms-blob-content-length", &blob.size.to_string());
            }
        }
        BlobCall::GetProperties => {
            let found =
                account.attributes(asked.at(path)?, asked.encryption(), &head.conditions()?);
            let (blob, said) = found.map_err(of)?;
            out.blob(asked, &blob, &said)?;
            out.set("content-length", &blob.size.to_string());
            if let Some(md5) = &said.content_md5 {
                out.md5("content-md5", md5);
            }
            if head.query("comp")?.is_some() {
                // Metadata alone has no body, whichever the method.
                out.set("content-length", "0");
            }
        }
        BlobCall::GetTags => {
            let found = account.info_under(asked.at(path)?, &head.conditions()?);
            out = Out::xml(xml::tags(&found.map_err(of)?.tags));
        }
        BlobCall::SetTags => {
            let tags = xml::read_tags(body)?;
            account
                .set_tags(asked.at(path)?, &tags, &head.conditions()?)
                .map_err(of)?;
        }
        BlobCall::SetMetadata => {
            let (metadata, conditions) = (head.metadata()?, head.conditions()?);
            let set = account.set_metadata(path, &metadata, asked.encryption(), &conditions);
            out.written(asked, &set.map_err(of)?);
        }
        BlobCall::SetProperties => {
            if head.header("x-ms-blob-content-md5")?.is_some() {
                return Err(Fault::not_here("a new MD5 of a blob that stays as it is"));
            }
            let (properties, conditions) = (head.properties(false)?, head.conditions()?);
            let set = account.set_properties(path, &properties, &conditions);
            let set = set.map_err(of)?;
            out.state(set.etag, set.modified);
        }
        BlobCall::Delete => {
            let blob = asked.at(path)?;
            let snapshots = match head.header("x-ms-delete-snapshots")? {
                None => Snapshots::Refuse,
                Some("include") if blob.snapshot.is_none() => Snapshots::Include,
                Some("only") if blob.snapshot.is_none() => Snapshots::Only,
                Some(_) => return Err(Fault::header("x-ms-delete-snapshots")),
            };
            account
                .delete_with(blob, snapshots, &head.conditions()?)
                .map_err(of)?;
            out.set("x-ms-delete-type-permanent", "true");
        }
        BlobCall::Snapshot => {
            let metadata = head.metadata()?;
            let metadata = Some(&metadata).filter(|metadata| !metadata.is_empty());
            let taken = account.snapshot(path, metadata, asked.encryption(), &head.conditions()?);
            let taken = taken.map_err(of)?;
            out.written(asked, &taken);
            let time = taken.snapshot.map(|time| time.to_string());
            out.set("x-ms-snapshot", &time.unwrap_or_default());
        }
        BlobCall::Copy | BlobCall::PutFromUrl => return copy::copy(asked, call, path),
        BlobCall::PutBlockFromUrl => return copy::block(asked, path),
        BlobCall::CreateAppend => {
            if head
                .header("content-length")?
                .is_some_and(|length| length != "0")
            {
                return Err(Fault::header("Content-Length"));
            }
            let said = Attributes {
                properties: head.properties(true)?,
                tags: tags(head)?,
                metadata: head.metadata()?,
                ..Attributes::default()
            };
            let made = account.create_append_blob(
                path,
                &said,
                asked.encryption(),
                &write_conditions(asked)?,
            );
            out.written(asked, &made.map_err(|e| write_refused(asked, &e))?);
        }
        BlobCall::AppendBlockFromUrl => return copy::appended(asked, path),
        BlobCall::SealAppend => {
            let (at, conditions) = (append::conditions(head)?, head.conditions()?);
            let sealed = account.seal_append_blob(path, &at, &conditions);
            let sealed = sealed.map_err(of)?;
            out.state(sealed.etag, sealed.modified);
            out.set("x-ms-blob-sealed", "true");
        }
        BlobCall::Lease | BlobCall::BreakLease => {
            return lease::change(asked, Leasable::Blob(path));
        }
        BlobCall::SetTier => {
            let tier = head.tier()?;
            let tier = tier.ok_or_else(|| Fault::missing("x-ms-access-tier"))?;
            account
                .set_tier(asked.at(path)?, tier, &head.conditions()?)
                .map_err(of)?;
        }
        BlobCall::AbortCopy => {
            // A copy is there when its request is answered: none is ever under way.
            account.info(path).map_err(of)?;
            return Err(of(Refusal::NoPendingCopy.into()));
        }
        BlobCall::Put | BlobCall::PutBlock | BlobCall::AppendBlock | BlobCall::Get => {
            return Err(Fault::not_here("this operation"));
        }
    }
    Ok(out.done())
}
