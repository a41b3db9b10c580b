use jiff::civil::Date;

/// Whether a request names an api-version that the server speaks: 2016-10-01, 7.0 or later, or a date
/// from 2025-06-01 on, as a preview (`-preview`, `-preview.2`) or not. Newer ones than are known are
/// taken: what they add to a request is ignored.
pub(in crate::server) fn is_api_version(text: &str) -> bool {
    if text == "2016-10-01" {
        return true;
    }
    let (number, preview) = match text.split_once("-preview") {
        Some((number, rest)) => (
            number,
            rest.strip_prefix('.').or((!rest.is_empty()).then_some("")),
        ),
        None => (text, None),
    };
    if preview.is_some_and(|n| !is_number(n)) {
        return false;
    }
    if let Some((major, minor)) = number.split_once('.') {
        return major == "7" && is_number(minor);
    }
    let first = Date::constant(2025, 6, 1);
    let date = (number.len() == 10).then(|| number.parse::<Date>());
    date.is_some_and(|date| date.is_ok_and(|date| date >= first))
}

fn is_number(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_panics(text in prop_oneof![".*", "[0-9.-]{0,12}(-preview[.0-9]{0,4})?"]) {
            is_api_version(&text);
        }
    }

    #[test]
    fn versions_of_all_clients_are_taken_and_nonsense_is_not() {
        for version in [
            "2016-10-01",
            "7.0",
            "7.4",
            "7.6",
            "7.6-preview.2",
            "2025-06-01-preview",
            "2025-07-01",
            "2026-03-01-preview",
            "2026-07-01-preview",
            "2026-04-01",
            "2031-12-31",
            "7.12",
        ] {
            assert!(is_api_version(version), "{version}");
        }
        for version in [
            "",
            "7",
            "7.",
            ".7",
            "8.0",
            "6.0",
            "7.x",
            "7.6-preview.",
            "7.6-preview2",
            "7.6-beta",
            "7.6-preview.2.1",
            "2025-13-01",
            "2025-02-30",
            "2025-7-01",
            "2025-07-01-",
            "2016-10-02",
            "latest",
            "-preview",
            " 7.4",
            "7.4 ",
            "+7.4",
            "7.-4",
            "2025-07-01T00",
        ] {
            assert!(!is_api_version(version), "{version}");
        }
    }
}
