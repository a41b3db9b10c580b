use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::resource::ResourceError;

use super::{LeaseId, TagQuery, Tier};

/// The state of a container or blob, as a number that no two states of an account share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag(pub(super) i64);

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:015X}", self.0)
    }
}

impl Serialize for Etag {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What a blob's owner says of its content, as HTTP headers do. A list shows it, also when the
/// customer's key is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Properties {
    /// `Content-Type`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Cache-Control`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
}

/// Names and values: a container's or blob's metadata, or a blob's index tags.
pub type Pairs = BTreeMap<String, String>;

/// What is said of a blob when it is put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Under the service's key.
    pub properties: Properties,
    /// Index tags; under the service's key.
    pub tags: Pairs,
    /// Under the customer's key.
    pub metadata: Pairs,
    /// MD5 of the content (RFC 1321), as the Blob service's clients compare it; under the customer's
    /// key, since it tells a guessed content from another. It is no protection: chunks are authenticated
    /// without it.
    pub content_md5: Option<[u8; 16]>,
    /// The access tier; under the service's key.
    pub tier: Option<Tier>,
}

/// The states in which something may be done (RFC 9110, section 13). They are looked at in the same
/// transaction as that which is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`
    pub if_match: Option<Matching>,
    /// `If-None-Match`
    pub if_none_match: Option<Matching>,
    /// `If-Modified-Since`; not looked at beside `If-None-Match`.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`; not looked at beside `If-Match`.
    pub if_unmodified_since: Option<Timestamp>,
    /// `x-ms-if-tags`; of blobs only.
    pub tags: Option<TagQuery>,
    /// The lease that is shown: what is written needs the one that there is.
    pub lease: Option<LeaseId>,
}

/// Which states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matching {
    /// `*`: any that exists.
    Any,
    /// These entity tags, without quotes.
    Tags(Vec<String>),
}

impl Matching {
    fn holds(&self, now: Option<Etag>) -> bool {
        match (self, now) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Tags(tags), Some(now)) => tags.contains(&now.to_string()),
        }
    }
}

impl Conditions {
    /// Whether `what` may be done something to, whose state is `now` (its tag, and its last change in
    /// microseconds since 1970) or which does not exist.
    ///
    /// # Errors
    /// [`ResourceError::Exists`] when it must not exist, and does; [`ResourceError::ConditionNotMet`].
    pub(super) fn check(
        &self,
        what: &dyn fmt::Display,
        now: Option<(Etag, i64)>,
    ) -> Result<(), ResourceError> {
        let etag = now.map(|(etag, _)| etag);
        let not_met = |unchanged| {
            let what = what.to_string();
            Err(ResourceError::ConditionNotMet { what, unchanged })
        };
        // Times of HTTP have whole seconds.
        let changed_after = |since: Timestamp| {
            now.is_some_and(|(_, modified)| modified.div_euclid(1_000_000) > since.as_second())
        };
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.holds(etag) => return not_met(false),
            (None, Some(since)) if changed_after(since) => return not_met(false),
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(Matching::Any), _) if now.is_some() => {
                Err(ResourceError::Exists(what.to_string()))
            }
            (Some(tags), _) if tags.holds(etag) => not_met(true),
            (None, Some(since)) if now.is_some() && !changed_after(since) => not_met(true),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_that_does_not_hold_is_told_from_one_that_does() {
        let second = |s| Timestamp::from_second(s).ok();
        let here = Some((Etag(7), 100_900_000));
        let this = || Some(Matching::Tags(vec!["x".into(), Etag(7).to_string()]));
        let other = || Some(Matching::Tags(vec![Etag(8).to_string()]));
        let with = |change: &dyn Fn(&mut Conditions)| {
            let mut conditions = Conditions::default();
            change(&mut conditions);
            conditions
        };
        let cases: [(Conditions, bool, bool); 11] = [
            (Conditions::default(), true, true),
            (with(&|c| c.if_match = Some(Matching::Any)), true, false),
            (with(&|c| c.if_match = this()), true, false),
            (with(&|c| c.if_match = other()), false, false),
            (
                with(&|c| c.if_none_match = Some(Matching::Any)),
                false,
                true,
            ),
            (with(&|c| c.if_none_match = this()), false, true),
            (with(&|c| c.if_none_match = other()), true, true),
            (with(&|c| c.if_modified_since = second(99)), true, true),
            (with(&|c| c.if_modified_since = second(100)), false, true),
            (with(&|c| c.if_unmodified_since = second(100)), true, true),
            (with(&|c| c.if_unmodified_since = second(99)), false, true),
        ];
        for (conditions, there, missing) in cases {
            assert_eq!(
                conditions.check(&"x", here).is_ok(),
                there,
                "{conditions:?}"
            );
            assert_eq!(
                conditions.check(&"x", None).is_ok(),
                missing,
                "{conditions:?}"
            );
        }
    }
}
