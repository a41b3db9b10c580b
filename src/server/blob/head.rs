//! What a request's head says.

use hyper::Method;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::resource::blob::{
    BlockId, Conditions, LeaseId, Matching, Pairs, Properties, Snapshot, TagQuery, Tier,
};

use super::call::Call;
use super::fault::Fault;
use super::{Address, Origin};

/// The most bytes of metadata.
const METADATA_MAX: usize = 8 << 10;

/// A request without its body.
pub(super) struct Head {
    pub(super) method: Method,
    /// As it came, undecoded.
    pub(super) path: String,
    /// The same without the account's name, which a path may begin with.
    pub(super) resource: String,
    /// Names and values, decoded; a `+` stands for itself.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) origin: Origin,
}

impl Head {
    pub(super) fn new(parts: Parts, origin: Origin, address: &Address) -> Result<Self, Fault> {
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned())
                .map_err(|_| Fault::bad("InvalidUri", "The request URI is not UTF-8."))
        };
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().split('&');
        let query = query.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?.to_ascii_lowercase(), decoded(value)?))
        });
        Ok(Self {
            query: query.collect::<Result<_, _>>()?,
            method: parts.method,
            resource: match address {
                Address::Host(_) => path.clone(),
                Address::InPath(name) => path[1 + name.len()..].to_owned(),
            },
            path,
            headers: parts.headers,
            origin,
        })
    }

    /// Whether its path begins with the account's name.
    pub(super) fn is_in_path(&self) -> bool {
        self.path.len() != self.resource.len()
    }

    /// The one parameter `name` of the query.
    pub(super) fn query(&self, name: &str) -> Result<Option<&str>, Fault> {
        let mut found = self.query.iter().filter(|(n, _)| n == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(Some(value)),
            (None, _) => Ok(None),
            _ => Err(Fault::bad(
                "InvalidQueryParameterValue",
                format!("The query parameter {name} is there twice."),
            )),
        }
    }

    /// The one header `name`.
    pub(super) fn header(&self, name: &str) -> Result<Option<&str>, Fault> {
        let mut found = self.headers.get_all(name).iter();
        match (found.next(), found.next()) {
            (Some(value), None) => match value.to_str() {
                Ok(text) => Ok(Some(text.trim())),
                Err(_) => Err(Fault::header(name)),
            },
            (None, _) => Ok(None),
            _ => Err(Fault::header(name)),
        }
    }

    /// The header `name` as a text to keep; none when it is empty.
    fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        let text = self.header(name)?.filter(|text| !text.is_empty());
        Ok(text.map(str::to_owned))
    }

    /// The conditions under which it shall be done.
    pub(super) fn conditions(&self) -> Result<Conditions, Fault> {
        self.conditions_named("")
    }

    /// The conditions that the blob which is copied must meet.
    pub(super) fn source_conditions(&self) -> Result<Conditions, Fault> {
        self.conditions_named("x-ms-source-")
    }

    fn conditions_named(&self, prefix: &str) -> Result<Conditions, Fault> {
        let named = |name: &str| format!("{prefix}{name}");
        let tags = |name: &str| {
            let tag = |text: &str| text.trim().trim_matches('"').to_owned();
            Ok(self.header(name)?.map(|text| match text {
                "*" => Matching::Any,
                tags => Matching::Tags(tags.split(',').map(tag).collect()),
            }))
        };
        let time = |name: &str| {
            let parse = |text: &str| {
                let time = httpdate::parse_http_date(text).ok()?;
                Timestamp::try_from(time).ok()
            };
            let found = self.header(name)?;
            found
                .map(|text| parse(text).ok_or_else(|| Fault::header(name)))
                .transpose()
        };
        let of_source = !prefix.is_empty();
        let of_tags = match of_source {
            true => "x-ms-source-if-tags",
            false => "x-ms-if-tags",
        };
        let query = |text: &str| TagQuery::parse(text).map_err(|_| Fault::header(of_tags));
        Ok(Conditions {
            if_match: tags(&named("if-match"))?,
            if_none_match: tags(&named("if-none-match"))?,
            if_modified_since: time(&named("if-modified-since"))?,
            if_unmodified_since: time(&named("if-unmodified-since"))?,
            tags: self.header(of_tags)?.map(query).transpose()?,
            lease: match of_source {
                true => self.lease_id("x-ms-source-lease-id")?,
                false => self.lease_id("x-ms-lease-id")?,
            },
        })
    }

    /// The name of a lease that the header `name` says.
    pub(super) fn lease_id(&self, name: &str) -> Result<Option<LeaseId>, Fault> {
        let text = self.header(name)?.filter(|text| !text.is_empty());
        let parse = |text: &str| text.parse().map_err(|_| Fault::header(name));
        text.map(parse).transpose()
    }

    /// The access tier that it shall have.
    pub(super) fn tier(&self) -> Result<Option<Tier>, Fault> {
        let parse = |text: &str| match text {
            "Archive" => Err(Fault::not_here("the archive tier")),
            text => Tier::parse(text).ok_or_else(|| Fault::header("x-ms-access-tier")),
        };
        self.header("x-ms-access-tier")?.map(parse).transpose()
    }

    /// The number that the header `name` says.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let digits = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse().map_err(|_| Fault::header(name)),
            false => Err(Fault::header(name)),
        };
        self.header(name)?.map(digits).transpose()
    }

    /// `x-ms-meta-NAME`. HTTP has no case in names: they arrive in lower case.
    pub(super) fn metadata(&self) -> Result<Pairs, Fault> {
        let mut pairs = Pairs::new();
        let mut len = 0;
        for (header, value) in &self.headers {
            let Some(name) = header.as_str().strip_prefix("x-ms-meta-") else {
                continue;
            };
            let why =
                "The metadata specified is invalid. It has characters that are not permitted.";
            let invalid = || Fault::bad("InvalidMetadata", why);
            let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let fits = name.bytes().all(letter) && !name.starts_with(|c: char| c.is_ascii_digit());
            if name.is_empty() || !fits {
                return Err(invalid());
            }
            let value = value.to_str().map_err(|_| invalid())?.trim();
            len += name.len() + value.len();
            if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(invalid());
            }
        }
        match len <= METADATA_MAX {
            true => Ok(pairs),
            false => Err(Fault::bad(
                "MetadataTooLarge",
                "The size of the specified metadata exceeds 8 KB.",
            )),
        }
    }

    /// What is said of a blob's content: `x-ms-blob-content-type` and its like; where `or_own`, in their
    /// absence the request's own headers.
    pub(super) fn properties(&self, or_own: bool) -> Result<Properties, Fault> {
        let get = |name: &str, own: &str| match self.text(name)? {
            None if or_own => self.text(own),
            found => Ok(found),
        };
        Ok(Properties {
            content_type: get("x-ms-blob-content-type", "content-type")?,
            content_encoding: get("x-ms-blob-content-encoding", "content-encoding")?,
            content_language: get("x-ms-blob-content-language", "content-language")?,
            content_disposition: self.text("x-ms-blob-content-disposition")?,
            cache_control: get("x-ms-blob-cache-control", "cache-control")?,
        })
    }

    /// Whether what is asked of a lease is to break it.
    pub(super) fn breaks_lease(&self) -> Result<bool, Fault> {
        let action = self.header("x-ms-lease-action")?;
        Ok(action.is_some_and(|action| action.eq_ignore_ascii_case("break")))
    }

    /// Whether it says index tags.
    pub(super) fn sets_tags(&self) -> Result<bool, Fault> {
        Ok(self
            .header("x-ms-tags")?
            .is_some_and(|tags| !tags.is_empty()))
    }

    /// Whether a copy shall have the index tags of its source.
    pub(super) fn copies_tags(&self) -> Result<bool, Fault> {
        Ok(self.header("x-ms-copy-source-tag-option")? == Some("COPY"))
    }

    /// Refuses what changes the meaning of a request and is not there: to pass over it would be to store
    /// under another key than was asked for, or without the check that was asked for.
    pub(super) fn refuse_unknown(&self, call: &Call) -> Result<(), Fault> {
        const NOT_HERE: [(&str, &str); 6] = [
            ("x-ms-content-crc64", "CRC64 checksums"),
            ("x-ms-source-content-crc64", "CRC64 checksums"),
            ("x-ms-structured-body", "structured bodies"),
            ("x-ms-legal-hold", "legal holds"),
            (
                "x-ms-immutability-policy-until-date",
                "immutability policies",
            ),
            ("x-ms-range-get-content-crc64", "CRC64 checksums"),
        ];
        for (name, what) in NOT_HERE {
            if self.headers.contains_key(name) {
                return Err(Fault::not_here(what));
            }
        }
        if self.query("versionid")?.is_some() {
            return Err(Fault::not_here("versions of blobs"));
        }
        if self.headers.contains_key("x-ms-copy-source") && !call.copies() {
            return Err(Fault::bad(
                "UnsupportedHeader",
                "One of the HTTP headers specified in the request is not supported: x-ms-copy-source.",
            ));
        }
        if self.snapshot()?.is_some() && !call.is_of_snapshots() {
            return Err(Fault::bad(
                "UnsupportedQueryParameter",
                "A snapshot is as it was: the query parameter snapshot is not supported for this operation.",
            ));
        }
        Ok(())
    }

    /// Which snapshot it is of.
    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>, Fault> {
        // An empty one is none, as clients send it.
        let text = self.query("snapshot")?.filter(|text| !text.is_empty());
        let parse = |text: &str| {
            let why = "The value of the query parameter snapshot is invalid.";
            let bad = |_| Fault::bad("InvalidQueryParameterValue", why);
            text.parse().map_err(bad)
        };
        text.map(parse).transpose()
    }

    /// The identifier of the block that is put.
    pub(super) fn block_id(&self) -> Result<BlockId, Fault> {
        let id = self.query("blockid")?.and_then(BlockId::from_base64);
        id.ok_or_else(|| {
            let why = "Value for one of the query parameters specified in the request URI is invalid: blockid.";
            Fault::bad("InvalidQueryParameterValue", why)
        })
    }
}
