use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whose protocol the objects are reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Amazon S3, and what speaks its protocol: `s3://`.
    S3,
    /// Azure Blob Storage: `az://`.
    Azure,
    /// Google Cloud Storage: `gs://`.
    Google,
}

impl Provider {
    const ALL: [Self; 3] = [Self::S3, Self::Azure, Self::Google];

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Google => "gs",
        }
    }
}

/// Where the bytes of storage accounts are kept: `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or
/// `gs://BUCKET/PREFIX`; the prefix may be left out. It says nothing of who may go there: endpoint, region and
/// credentials come from the environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectsUrl {
    provider: Provider,
    bucket: String,
    /// Segments of its names; none for the bucket itself.
    prefix: Vec<String>,
}

/// Not such a URL.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} names no place for objects: expected s3://BUCKET, az://CONTAINER or gs://BUCKET, and perhaps /PREFIX \
     of letters, digits, dots, hyphens and underscores; credentials belong into the environment"
)]
pub struct BadObjectsUrl(String);

impl ObjectsUrl {
    /// The longest that is read, in bytes.
    const MAX_LEN: usize = 512;

    /// The bucket itself, as a URL.
    pub(super) fn root(&self) -> String {
        format!("{}://{}", self.provider.scheme(), self.bucket)
    }

    /// Whose protocol.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The bucket's or container's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix; empty for none.
    pub fn prefix(&self) -> String {
        self.prefix.join("/")
    }
}

impl FromStr for ObjectsUrl {
    type Err = BadObjectsUrl;

    fn from_str(s: &str) -> Result<Self, BadObjectsUrl> {
        let bad = || BadObjectsUrl(s.chars().take(80).collect());
        if s.len() > Self::MAX_LEN {
            return Err(bad());
        }
        let (scheme, rest) = s.split_once("://").ok_or_else(bad)?;
        let provider = Provider::ALL.into_iter().find(|p| p.scheme() == scheme);
        let provider = provider.ok_or_else(bad)?;
        let mut segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
        let bucket = segments.next().filter(|b| is_segment(b)).ok_or_else(bad)?;
        let prefix: Vec<String> = segments.map(str::to_owned).collect();
        match prefix.iter().all(|segment| is_segment(segment)) {
            true => Ok(Self {
                provider,
                bucket: bucket.to_owned(),
                prefix,
            }),
            false => Err(bad()),
        }
    }
}

/// Names that no protocol writes otherwise, and that lead nowhere else.
fn is_segment(s: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !matches!(s, "" | "." | "..") && s.bytes().all(plain)
}

impl TryFrom<String> for ObjectsUrl {
    type Error = BadObjectsUrl;
    fn try_from(s: String) -> Result<Self, BadObjectsUrl> {
        s.parse()
    }
}

impl From<ObjectsUrl> for String {
    fn from(url: ObjectsUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for ObjectsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root())?;
        self.prefix
            .iter()
            .try_for_each(|segment| write!(f, "/{segment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_never_by_whose_secret() {
        for (text, bucket, prefix) in [
            ("s3://bucket", "bucket", ""),
            ("s3://bucket/", "bucket", ""),
            ("az://backups/a/b_c", "backups", "a/b_c"),
            ("gs://my.bucket-1/p", "my.bucket-1", "p"),
        ] {
            let url: ObjectsUrl = text.parse().unwrap();
            assert_eq!((url.bucket(), &*url.prefix()), (bucket, prefix));
            assert_eq!(url.to_string(), text.trim_end_matches('/'));
            assert_eq!(url.to_string().parse::<ObjectsUrl>().unwrap(), url);
        }
        let long = format!("s3://bucket/{}", "a".repeat(512));
        for text in [
            "",
            "bucket",
            "s3:/bucket",
            "s3://",
            "s3:///prefix",
            "S3://bucket",
            "file:///etc",
            "http://127.0.0.1/bucket",
            "memory://x",
            "s3://key:secret@bucket",
            "az://container@account.example",
            "s3://bucket?X-Amz-Signature=1",
            "az://container/p?sig=1",
            "s3://bucket#f",
            "s3://bucket//x",
            "s3://bucket/../other",
            "s3://../x",
            "s3://bucket/./x",
            "s3://bucket/%2e%2e/x",
            "s3://bucket/a b",
            "s3://bucket/ä",
            "s3://bucket/a\0",
            " s3://bucket",
            &long,
        ] {
            assert!(text.parse::<ObjectsUrl>().is_err(), "{text:?}");
        }
    }
}
