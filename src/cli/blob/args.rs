use std::path::PathBuf;

use crate::resource::blob::{BlobName, BlobPath, ContainerName, Layers, ObjectsUrl, ScopeName};
use crate::world::{BadAddress, Kind, ResourceAddress};

use super::range::ByteRange;
use super::scope::ScopeArgs;
use crate::cli::protection::ProtectionArgs;

/// Arguments of `atrest blob`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob create invoices
  atrest blob create wages --infrastructure-encryption
  atrest blob put invoices july.pdf 2026/july.pdf
  atrest blob list invoices 2026/
  atrest blob get invoices 2026/july.pdf copy.pdf")]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make an empty storage account
    Create(CreateArgs),
    /// Store a file as a blob; replaces the blob of that name
    Put(PutArgs),
    /// Read a blob, or a range of it
    Get(GetArgs),
    /// List blobs by name; works when the customer's key is gone
    List(ListArgs),
    /// Delete a blob for good; works when the customer's key is gone
    Delete(DeleteArgs),
    /// List the containers
    Containers(ContainersArgs),
    /// Encryption scopes: keys of their own for some of the blobs
    Scope(ScopeArgs),
    /// Take over the objects of an account that was moved here
    Claim(ClaimArgs),
    /// Show the access keys that clients of `atrest serve` sign with
    Keys(KeysArgs),
    /// Read and authenticate every byte
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob create invoices
  atrest blob create test/storage/twin --plain
  atrest blob create archive --bytes s3://bucket/some/prefix
  atrest blob create archive --bytes az://container

With --bytes what is put is kept as objects in Amazon S3, Azure or Google Cloud Storage; the account's
keys and its catalog stay here. Endpoint, region and credentials come from the environment, each time:
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT; AZURE_STORAGE_ACCOUNT_NAME,
AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_ENDPOINT; GOOGLE_SERVICE_ACCOUNT. None of it is kept.")]
pub(super) struct CreateArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,

    #[command(flatten)]
    pub(super) protection: ProtectionArgs,

    #[command(flatten)]
    pub(super) twice: InfrastructureArgs,

    /// Where its bytes are kept, for good: s3://BUCKET, az://CONTAINER or gs://BUCKET, and /PREFIX [default: here]
    #[arg(long, value_name = "URL")]
    pub(super) bytes: Option<ObjectsUrl>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest blob claim archive

Only the account that made objects writes them, by its directory and its machine's name: a copy of it
is refused, since each would remove what the other put. Claim them where the account is now; the one
that had them is refused from then on.")]
pub(super) struct ClaimArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,
}

#[derive(Debug, clap::Args)]
pub(super) struct InfrastructureArgs {
    /// Seal what is stored a second time, with another algorithm and a key of the provider's; for good
    #[arg(long, conflicts_with = "plain")]
    infrastructure_encryption: bool,
}

/// What has infrastructure encryption, as the end of a sentence.
pub(super) fn twice(infrastructure_encryption: bool) -> &'static str {
    match infrastructure_encryption {
        true => ", with infrastructure encryption",
        false => "",
    }
}

impl InfrastructureArgs {
    pub(super) fn layers(&self) -> Layers {
        match self.infrastructure_encryption {
            true => Layers::Two,
            false => Layers::One,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob put invoices july.pdf
  atrest blob put invoices july.pdf 2026/july.pdf
  tar c letters | atrest blob put archive - letters.tar")]
pub(super) struct PutArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,

    /// The file to store; `-` reads standard input
    pub(super) file: PathBuf,

    /// The blob's name; by default the file's
    pub(super) name: Option<BlobName>,

    /// The encryption scope that it is under
    #[arg(long, value_name = "SCOPE")]
    pub(super) scope: Option<ScopeName>,

    #[command(flatten)]
    pub(super) within: Within,
}

/// Where blobs are in their account.
#[derive(Debug, clap::Args)]
pub(super) struct Within {
    /// The container; a put makes it when it is missing
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(super) container: ContainerName,
}

impl Within {
    pub(super) fn path(&self, name: &BlobName) -> BlobPath {
        BlobPath {
            container: self.container.clone(),
            name: name.clone(),
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob get invoices july.pdf copy.pdf
  atrest blob get archive letters.tar | tar t
  atrest blob get archive letters.tar --range 0-511 | xxd

When it fails half way, a file is not written at all; what went to standard output is a part, each
byte of it authentic, and must be thrown away.")]
pub(super) struct GetArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,

    /// The blob's name
    pub(super) name: BlobName,

    /// The file to write, which must not exist; by default standard output
    pub(super) file: Option<PathBuf>,

    /// Only these bytes, counted from 0, both ends included; without LAST to the end
    #[arg(long, value_name = "FIRST-[LAST]")]
    pub(super) range: Option<ByteRange>,

    #[command(flatten)]
    pub(super) within: Within,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob list invoices
  atrest blob list invoices 2026/ --json")]
pub(super) struct ListArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,

    /// Only names that start with this
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) prefix: String,

    #[command(flatten)]
    pub(super) within: Within,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest blob containers invoices")]
pub(super) struct ContainersArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob keys invoices
  atrest blob keys invoices --renew 1

Clients of `atrest serve` sign with them (SharedKey, SAS). Whoever has one may do all there is to the
account's blobs. They are kept in the account, under the provider's key; in a plain account in clear.")]
pub(super) struct KeysArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,

    /// Draw this one anew first; what was signed with the old one is refused from then on
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(super) renew: Option<u8>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest blob delete invoices july.pdf

The blob's key goes with it. A copy that was taken before is not touched by this.")]
pub(super) struct DeleteArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,

    /// The blob's name
    pub(super) name: BlobName,

    #[command(flatten)]
    pub(super) within: Within,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest blob verify invoices

Finds bytes that were altered, moved or cut. Does not find an old copy of the whole account.")]
pub(super) struct VerifyArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    pub(super) account: ResourceAddress,
}

pub(super) fn address(text: &str) -> Result<ResourceAddress, BadAddress> {
    ResourceAddress::of_kind(Kind::Storage, text)
}
