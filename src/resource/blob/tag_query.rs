use std::cmp::Ordering;

use super::attributes::Pairs;

/// A condition on index tags, as the Blob service writes it
/// (learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations):
/// `"name" = 'value'`, with `=`, `<>`, `<`, `<=`, `>`, `>=`, joined by `AND` and `OR`, of which the first
/// binds closer; `@container` stands for the container's name. Texts are compared by their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagQuery(Vec<Vec<Term>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    name: String,
    holds: &'static [Ordering],
    value: String,
}

/// Not a condition on tags.
#[derive(Debug, thiserror::Error)]
#[error("not a condition on tags: {0}")]
pub struct BadTagQuery(&'static str);

/// The most comparisons of a condition (ten tags, and each perhaps with two bounds).
const TERMS_MAX: usize = 32;

const CONTAINER: &str = "@container";

const OPERATORS: [(&str, &[Ordering]); 6] = {
    use Ordering::*;
    [
        ("<>", &[Less, Greater]),
        ("<=", &[Less, Equal]),
        (">=", &[Greater, Equal]),
        ("=", &[Equal]),
        ("<", &[Less]),
        (">", &[Greater]),
    ]
};

impl TagQuery {
    /// Reads a condition.
    ///
    /// # Errors
    /// [`BadTagQuery`], with what was expected.
    pub fn parse(text: &str) -> Result<Self, BadTagQuery> {
        let (mut rest, mut any, mut all, mut count) =
            (text.trim_start(), Vec::new(), Vec::new(), 0);
        loop {
            let (name, after) = name(rest)?;
            let operator = OPERATORS.iter().find(|(sign, _)| after.starts_with(sign));
            let (sign, holds) =
                operator.ok_or(BadTagQuery("expected a comparison after a name"))?;
            let (value, after) = quoted(after[sign.len()..].trim_start(), '\'')?;
            count += 1;
            if count > TERMS_MAX {
                return Err(BadTagQuery("too many comparisons"));
            }
            all.push(Term { name, holds, value });
            rest = after.trim_start();
            let Some((word, after)) = word(rest) else {
                break;
            };
            rest = after.trim_start();
            if word.eq_ignore_ascii_case("or") {
                any.push(std::mem::take(&mut all));
            } else if !word.eq_ignore_ascii_case("and") {
                return Err(BadTagQuery("expected AND or OR after a value"));
            }
        }
        if !rest.is_empty() {
            return Err(BadTagQuery("expected AND or OR after a value"));
        }
        any.push(all);
        Ok(Self(any))
    }

    /// Whether it holds for these tags of a blob in `container`. A tag that is not there differs from every
    /// value, and compares with none.
    pub fn holds(&self, container: &str, tags: &Pairs) -> bool {
        let term = |term: &Term| {
            let value = match term.name.as_str() {
                CONTAINER => Some(container),
                name => tags.get(name).map(String::as_str),
            };
            match value {
                Some(value) => term.holds.contains(&value.cmp(term.value.as_str())),
                None => term.holds == [Ordering::Less, Ordering::Greater],
            }
        };
        self.0.iter().any(|all| all.iter().all(term))
    }
}

fn word(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A name, in quotes unless it is a plain word.
fn name(text: &str) -> Result<(String, &str), BadTagQuery> {
    let (name, rest) = if text.starts_with('"') {
        quoted(text, '"')?
    } else {
        let at = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '@';
        let end = text.find(|c| !at(c)).unwrap_or(text.len());
        (text[..end].to_owned(), &text[end..])
    };
    if name.is_empty() || (name.starts_with('@') && name != CONTAINER) {
        return Err(BadTagQuery("expected the name of a tag"));
    }
    Ok((name, rest.trim_start()))
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), BadTagQuery> {
    let missing = BadTagQuery("a quotation mark is missing");
    let inside = text
        .strip_prefix(quote)
        .ok_or(BadTagQuery("a value must be in single quotes"))?;
    let (value, rest) = inside.split_once(quote).ok_or(missing)?;
    Ok((value.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_on_tags_holds_for_those_and_no_others() {
        let tags: Pairs = [("year", "2026"), ("a b", "x"), ("empty", "")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let holds = |text: &str| TagQuery::parse(text).unwrap().holds("reports", &tags);
        for text in [
            "\"year\" = '2026'",
            "year='2026'",
            "\"year\">='2026' AND \"year\" < '2027'",
            "\"a b\" <> 'y'",
            "\"missing\" <> 'y'",
            "year = '1' OR \"a b\" = 'x'",
            "year = '1' and year = '2' or empty = ''",
            "@container = 'reports' AND year > '2'",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "\"year\" = '2025'",
            "Year = '2026'",
            "\"missing\" = ''",
            "\"missing\" > ''",
            "year = '2026' AND empty = 'x'",
            "year = '2026' AND empty = 'x' OR year = '1'",
            "@container = 'other'",
        ] {
            assert!(!holds(text), "{text}");
        }
        for bad in [
            "",
            "year",
            "year =",
            "year = 2026",
            "year = '2026",
            "\"year = '2026'",
            "year = '2026' AND",
            "year = '2026' XOR a = 'b'",
            "year = '2026' a = 'b'",
            "year = '2026';",
            "@other = 'x'",
            "= 'x'",
            &vec!["a = 'b'"; 33].join(" AND "),
        ] {
            assert!(TagQuery::parse(bad).is_err(), "{bad}");
        }
    }
}
