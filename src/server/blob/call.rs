//! Which operation a request asks for, and what one must be allowed to do for it.

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::resource::blob::{BlobName, BlobPath, ContainerName};
use crate::server::role::DataAction;

use super::fault::Fault;
use super::head::Head;

/// What is asked for, and of what.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Account(AccountCall),
    Container(ContainerCall, ContainerName),
    Blob(BlobCall, BlobPath),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountCall {
    ListContainers,
    Information,
    Properties,
    SetProperties,
    DelegationKey,
    Batch,
    FindByTags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerCall {
    Create,
    Delete,
    Get,
    GetAcl,
    SetMetadata,
    List,
    Lease,
    SetAcl,
    Batch,
    FindByTags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobCall {
    Put,
    PutFromUrl,
    Copy,
    AbortCopy,
    Snapshot,
    PutBlock,
    PutBlockFromUrl,
    PutBlockList,
    GetBlockList,
    Get,
    GetProperties,
    GetTags,
    SetTags,
    SetMetadata,
    SetProperties,
    Delete,
    CreateAppend,
    AppendBlock,
    AppendBlockFromUrl,
    SealAppend,
    Lease,
    BreakLease,
    SetTier,
}

/// What one must be allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Of a role.
    pub(super) action: DataAction,
    /// Any of these letters of a shared access signature.
    pub(super) letters: &'static str,
    /// Which resource types (`srt`) an account's signature must be for.
    pub(super) level: char,
    /// Whether a signature of a service (`sr`) can allow it.
    pub(super) by_service: bool,
}

impl Call {
    pub(super) fn of(head: &Head) -> Result<Self, Fault> {
        let (comp, restype) = (head.query("comp")?, head.query("restype")?);
        let path = head.resource.strip_prefix('/').unwrap_or_default();
        let (container, blob) = match path.split_once('/') {
            Some((container, blob)) => (container, blob),
            None => (path, ""),
        };
        if restype == Some("account") && comp == Some("properties") {
            return match head.method {
                Method::GET | Method::HEAD => Ok(Self::Account(AccountCall::Information)),
                _ => Err(Fault::no_verb()),
            };
        }
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded.map(|text| text.into_owned()).map_err(|_| {
                Fault::bad(
                    "InvalidUri",
                    "The requested URI does not represent any resource on the server.",
                )
            })
        };
        if container.is_empty() {
            return match (&head.method, restype, comp) {
                (&Method::GET, None, Some("list")) => Ok(AccountCall::ListContainers),
                (&Method::GET, Some("service"), Some("properties")) => Ok(AccountCall::Properties),
                (&Method::PUT, Some("service"), Some("properties")) => {
                    Ok(AccountCall::SetProperties)
                }
                (&Method::POST, Some("service"), Some("userdelegationkey")) => {
                    Ok(AccountCall::DelegationKey)
                }
                (&Method::POST, None, Some("batch")) => Ok(AccountCall::Batch),
                (&Method::GET, None, Some("blobs")) => Ok(AccountCall::FindByTags),
                _ => Err(Fault::not_here("this operation of an account")),
            }
            .map(Self::Account);
        }
        let container: ContainerName = decoded(container)?.parse().map_err(|_| {
            Fault::bad(
                "InvalidResourceName",
                "The specified resource name contains invalid characters.",
            )
        })?;
        if blob.is_empty() {
            let call = container_call(&head.method, restype, comp)?;
            return Ok(Self::Container(call, container));
        }
        let name = BlobName::parse(&decoded(blob)?)
            .map_err(|e| Fault::bad("InvalidResourceName", e.to_string()))?;
        Ok(Self::Blob(
            blob_call(head, comp)?,
            BlobPath { container, name },
        ))
    }

    /// What log and metrics call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Account(AccountCall::ListContainers) => "ListContainers",
            Self::Account(AccountCall::Information) => "GetAccountInformation",
            Self::Account(AccountCall::Properties) => "GetBlobServiceProperties",
            Self::Account(AccountCall::SetProperties) => "SetBlobServiceProperties",
            Self::Account(AccountCall::DelegationKey) => "GetUserDelegationKey",
            Self::Account(AccountCall::Batch) => "BlobBatch",
            Self::Account(AccountCall::FindByTags) => "FindBlobsByTags",
            Self::Container(call, _) => match call {
                ContainerCall::Create => "CreateContainer",
                ContainerCall::Delete => "DeleteContainer",
                ContainerCall::Get => "GetContainerProperties",
                ContainerCall::GetAcl => "GetContainerAcl",
                ContainerCall::SetMetadata => "SetContainerMetadata",
                ContainerCall::List => "ListBlobs",
                ContainerCall::Lease => "LeaseContainer",
                ContainerCall::SetAcl => "SetContainerAcl",
                ContainerCall::Batch => "ContainerBatch",
                ContainerCall::FindByTags => "FindBlobsByTagsInContainer",
            },
            Self::Blob(call, _) => match call {
                BlobCall::Put => "PutBlob",
                BlobCall::PutFromUrl => "PutBlobFromUrl",
                BlobCall::Copy => "CopyBlob",
                BlobCall::AbortCopy => "AbortCopyBlob",
                BlobCall::Snapshot => "SnapshotBlob",
                BlobCall::PutBlockFromUrl => "PutBlockFromUrl",
                BlobCall::PutBlock => "PutBlock",
                BlobCall::PutBlockList => "PutBlockList",
                BlobCall::GetBlockList => "GetBlockList",
                BlobCall::Get => "GetBlob",
                BlobCall::GetProperties => "GetBlobProperties",
                BlobCall::GetTags => "GetBlobTags",
                BlobCall::SetTags => "SetBlobTags",
                BlobCall::SetMetadata => "SetBlobMetadata",
                BlobCall::SetProperties => "SetBlobProperties",
                BlobCall::Delete => "DeleteBlob",
                BlobCall::CreateAppend => "PutAppendBlob",
                BlobCall::AppendBlock => "AppendBlock",
                BlobCall::AppendBlockFromUrl => "AppendBlockFromUrl",
                BlobCall::SealAppend => "AppendBlobSeal",
                BlobCall::Lease | BlobCall::BreakLease => "LeaseBlob",
                BlobCall::SetTier => "SetBlobTier",
            },
        }
    }

    /// Whether it changes nothing.
    pub(super) fn reads(&self) -> bool {
        match self {
            Self::Account(call) => !matches!(call, AccountCall::SetProperties | AccountCall::Batch),
            Self::Container(call, _) => matches!(
                call,
                ContainerCall::Get
                    | ContainerCall::GetAcl
                    | ContainerCall::List
                    | ContainerCall::FindByTags
            ),
            Self::Blob(call, _) => matches!(
                call,
                BlobCall::Get
                    | BlobCall::GetProperties
                    | BlobCall::GetTags
                    | BlobCall::GetBlockList
            ),
        }
    }

    /// Whether it reads from another blob, which `x-ms-copy-source` names.
    pub(super) fn copies(&self) -> bool {
        matches!(
            self,
            Self::Blob(
                BlobCall::PutFromUrl
                    | BlobCall::Copy
                    | BlobCall::PutBlockFromUrl
                    | BlobCall::AppendBlockFromUrl,
                _
            )
        )
    }

    /// Whether it may be of a snapshot.
    pub(super) fn is_of_snapshots(&self) -> bool {
        matches!(
            self,
            Self::Blob(BlobCall::Delete | BlobCall::SetTags | BlobCall::SetTier, _)
        ) || (self.reads() && matches!(self, Self::Blob(..)))
    }

    /// What else one must be allowed where the request touches index tags on its way.
    pub(super) fn need_of_tags(&self, head: &Head) -> Result<Option<Need>, Fault> {
        let (action, level, touches) = match self {
            Self::Blob(
                BlobCall::Put
                | BlobCall::PutFromUrl
                | BlobCall::Copy
                | BlobCall::CreateAppend
                | BlobCall::PutBlockList,
                _,
            ) => (
                DataAction::BlobTagsWrite,
                'o',
                head.sets_tags()? || (self.copies() && head.copies_tags()?),
            ),
            Self::Container(ContainerCall::List, _) => (
                DataAction::BlobTagsRead,
                'c',
                head.query("include")?
                    .is_some_and(|all| all.split(',').any(|what| what == "tags")),
            ),
            _ => return Ok(None),
        };
        Ok(touches.then_some(Need {
            action,
            letters: "t",
            level,
            by_service: true,
        }))
    }

    pub(super) fn need(&self) -> Need {
        use DataAction::*;
        let (action, letters) = match self {
            Self::Account(AccountCall::ListContainers) => (ContainersRead, "l"),
            Self::Account(AccountCall::Information | AccountCall::Properties) => {
                (ContainersRead, "rl")
            }
            Self::Account(AccountCall::SetProperties) => (ContainersWrite, "w"),
            Self::Account(AccountCall::DelegationKey) => (DelegationKey, ""),
            // What is in it is asked for one by one.
            Self::Account(AccountCall::Batch) => (ContainersRead, "rwdlactf"),
            Self::Account(AccountCall::FindByTags) => (BlobsFilter, "f"),
            Self::Container(call, _) => match call {
                ContainerCall::Create => (ContainersWrite, "cw"),
                ContainerCall::Delete => (ContainersDelete, "d"),
                ContainerCall::Get => (ContainersRead, "r"),
                ContainerCall::SetMetadata | ContainerCall::Lease => (ContainersWrite, "w"),
                // A policy says what others' signatures allow: no signature may read or widen it.
                ContainerCall::GetAcl => (ContainersGetAcl, ""),
                ContainerCall::SetAcl => (ContainersSetAcl, ""),
                ContainerCall::Batch => (ContainersRead, "rwdlactf"),
                ContainerCall::FindByTags => (BlobsFilter, "f"),
                ContainerCall::List => (BlobsRead, "l"),
            },
            Self::Blob(call, _) => match call {
                BlobCall::Put | BlobCall::PutFromUrl | BlobCall::Copy | BlobCall::CreateAppend => {
                    (BlobsWrite, "wc")
                }
                BlobCall::AppendBlock | BlobCall::AppendBlockFromUrl => (BlobsAdd, "aw"),
                BlobCall::SealAppend | BlobCall::SetTier | BlobCall::Lease => (BlobsWrite, "w"),
                // Who may delete may end another's lease, and take none.
                BlobCall::BreakLease => (BlobsWrite, "wd"),
                // It takes the place of nothing.
                BlobCall::Snapshot => (BlobsWrite, "cw"),
                // `c` is for a blob of one piece: a block may take the place of another's.
                BlobCall::PutBlock | BlobCall::PutBlockFromUrl | BlobCall::PutBlockList => {
                    (BlobsWrite, "w")
                }
                BlobCall::AbortCopy => (BlobsWrite, "w"),
                BlobCall::Get | BlobCall::GetProperties | BlobCall::GetBlockList => {
                    (BlobsRead, "r")
                }
                BlobCall::GetTags => (BlobTagsRead, "t"),
                BlobCall::SetTags => (BlobTagsWrite, "t"),
                BlobCall::SetMetadata | BlobCall::SetProperties => (BlobsWrite, "w"),
                BlobCall::Delete => (BlobsDelete, "d"),
            },
        };
        let (level, by_service) = match self {
            Self::Account(_) => ('s', false),
            Self::Container(call, _) => {
                let also = [
                    ContainerCall::List,
                    ContainerCall::Batch,
                    ContainerCall::FindByTags,
                ];
                ('c', also.contains(call))
            }
            Self::Blob(..) => ('o', true),
        };
        Need {
            action,
            letters,
            level,
            by_service,
        }
    }
}

fn container_call(
    method: &Method,
    restype: Option<&str>,
    comp: Option<&str>,
) -> Result<ContainerCall, Fault> {
    if restype != Some("container") {
        return Err(Fault::not_here("blobs of the root container"));
    }
    match (method, comp) {
        (&Method::PUT, None) => Ok(ContainerCall::Create),
        (&Method::DELETE, None) => Ok(ContainerCall::Delete),
        (&Method::GET | &Method::HEAD, None | Some("metadata")) => Ok(ContainerCall::Get),
        (&Method::PUT, Some("metadata")) => Ok(ContainerCall::SetMetadata),
        (&Method::PUT, Some("lease")) => Ok(ContainerCall::Lease),
        (&Method::PUT, Some("acl")) => Ok(ContainerCall::SetAcl),
        (&Method::POST, Some("batch")) => Ok(ContainerCall::Batch),
        (&Method::GET, Some("blobs")) => Ok(ContainerCall::FindByTags),
        (&Method::GET, Some("list")) => Ok(ContainerCall::List),
        (&Method::GET | &Method::HEAD, Some("acl")) => Ok(ContainerCall::GetAcl),
        (_, None) => Err(Fault::no_verb()),
        _ => Err(Fault::not_here("this operation of a container")),
    }
}

fn blob_call(head: &Head, comp: Option<&str>) -> Result<BlobCall, Fault> {
    let from_url = head.headers.contains_key("x-ms-copy-source");
    match (&head.method, comp) {
        (&Method::PUT, None) => match head.header("x-ms-blob-type")? {
            Some("BlockBlob") if from_url => Ok(BlobCall::PutFromUrl),
            Some("BlockBlob") => Ok(BlobCall::Put),
            Some("AppendBlob") => Ok(BlobCall::CreateAppend),
            Some("PageBlob") => Err(Fault::page_blob()),
            Some(_) => Err(Fault::header("x-ms-blob-type")),
            None if from_url => Ok(BlobCall::Copy),
            None => Err(Fault::missing("x-ms-blob-type")),
        },
        (&Method::PUT, Some("appendblock")) if from_url => Ok(BlobCall::AppendBlockFromUrl),
        (&Method::PUT, Some("appendblock")) => Ok(BlobCall::AppendBlock),
        (&Method::PUT, Some("seal")) => Ok(BlobCall::SealAppend),
        (&Method::PUT, Some("lease")) if head.breaks_lease()? => Ok(BlobCall::BreakLease),
        (&Method::PUT, Some("lease")) => Ok(BlobCall::Lease),
        (&Method::PUT, Some("tier")) => Ok(BlobCall::SetTier),
        (&Method::PUT, Some("page" | "incrementalcopy")) | (&Method::GET, Some("pagelist")) => {
            Err(Fault::page_blob())
        }
        (&Method::PUT, Some("snapshot")) => Ok(BlobCall::Snapshot),
        (&Method::PUT, Some("copy")) => Ok(BlobCall::AbortCopy),
        (&Method::PUT, Some("block")) if from_url => Ok(BlobCall::PutBlockFromUrl),
        (&Method::PUT, Some("block")) => Ok(BlobCall::PutBlock),
        (&Method::PUT, Some("blocklist")) => Ok(BlobCall::PutBlockList),
        (&Method::GET, Some("blocklist")) => Ok(BlobCall::GetBlockList),
        (&Method::GET, None) => Ok(BlobCall::Get),
        (&Method::HEAD, None) | (&Method::GET | &Method::HEAD, Some("metadata")) => {
            Ok(BlobCall::GetProperties)
        }
        (&Method::GET, Some("tags")) => Ok(BlobCall::GetTags),
        (&Method::PUT, Some("tags")) => Ok(BlobCall::SetTags),
        (&Method::PUT, Some("metadata")) => Ok(BlobCall::SetMetadata),
        (&Method::PUT, Some("properties")) => Ok(BlobCall::SetProperties),
        (&Method::DELETE, None) => Ok(BlobCall::Delete),
        (_, None) => Err(Fault::no_verb()),
        _ => Err(Fault::not_here("this operation of a blob")),
    }
}
