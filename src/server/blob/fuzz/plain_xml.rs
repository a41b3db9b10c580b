//! A reader of the XML that the service takes, written from XML 1.0 (fifth edition) for the test: without
//! entities of a document's own, without processing instructions, attributes passed over.

use super::super::xml::DEPTH_MAX;

/// Each element as it ends: the names of those that it lies in and its own, and its text.
pub(super) type Elements = Vec<(Vec<String>, String)>;

/// `None` when it is none.
pub(super) fn read(body: &[u8]) -> Option<Elements> {
    let text = String::from_utf8(body.to_vec()).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.chars().any(|c| !allowed(u32::from(c))) {
        return None;
    }
    // 2.11: before anything else, each end of a line becomes a line feed.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = declaration(&text)?;
    let mut elements = Elements::new();
    rest = misc(rest)?;
    rest = element(rest, &[], &mut elements)?;
    rest = misc(rest)?;
    rest.is_empty().then_some(elements)
}

/// 2.2
fn allowed(c: u32) -> bool {
    c == 9
        || c == 10
        || c == 13
        || (0x20..0xd800).contains(&c)
        || (0xe000..0xfffe).contains(&c)
        || (0x1_0000..0x11_0000).contains(&c)
}

fn space(c: char) -> bool {
    c == ' ' || c == '\t' || c == '\n' || c == '\r'
}

/// 2.8: after the declaration, if there is one.
fn declaration(text: &str) -> Option<&str> {
    let Some(after) = text.strip_prefix("<?xml") else {
        return Some(text);
    };
    let (said, rest) = after.split_once("?>")?;
    // Between what it says, no space is asked for.
    let mut said = said.strip_prefix(space)?;
    let mut values = Vec::new();
    while !said.trim_start_matches(space).is_empty() {
        let (name, after) = said.split_once('=')?;
        let after = after.trim_start_matches(space);
        let quote = after.chars().next().filter(|c| "'\"".contains(*c))?;
        let (value, after) = after[1..].split_once(quote)?;
        values.push((name.trim_matches(space), value));
        said = after;
    }
    let mut values = values.into_iter().peekable();
    values.next_if_eq(&("version", "1.0"))?;
    values.next_if(|(name, value)| *name == "encoding" && value.eq_ignore_ascii_case("utf-8"));
    values.next_if(|(name, value)| *name == "standalone" && ["yes", "no"].contains(value));
    values.next().is_none().then_some(rest)
}

/// After comments and spaces.
fn misc(mut rest: &str) -> Option<&str> {
    loop {
        rest = rest.trim_start_matches(space);
        match rest.strip_prefix("<!--") {
            Some(after) => rest = comment(after)?,
            None => return Some(rest),
        }
    }
}

/// 2.5
fn comment(after: &str) -> Option<&str> {
    let (_, rest) = after.split_once("--")?;
    rest.strip_prefix('>')
}

fn element<'a>(rest: &'a str, above: &[String], elements: &mut Elements) -> Option<&'a str> {
    let rest = rest.strip_prefix('<')?;
    let end = rest.find(|c| space(c) || c == '>')?;
    let end = rest[..end]
        .strip_suffix('/')
        .filter(|_| rest[end..].starts_with('>'))
        .map_or(end, str::len);
    let (name, mut rest) = rest.split_at(end);
    let first = name.chars().next()?;
    let inner = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if !(first.is_ascii_alphabetic() || first == '_') || !name.chars().all(inner) {
        return None;
    }
    let mut path = above.to_vec();
    path.push(name.to_owned());
    if path.len() > DEPTH_MAX {
        return None;
    }
    // Attributes: up to the end of the tag that is in no quotes.
    let mut quote = None;
    let mut before = ' ';
    let end = rest.char_indices().find_map(|(at, c)| {
        match quote {
            Some(open) if open == c => quote = None,
            Some(_) => {}
            None if c == '>' => return Some(at),
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
        before = c;
        None
    })?;
    let is_empty = end > 0 && before == '/';
    rest = &rest[end + 1..];
    if is_empty {
        elements.push((path, String::new()));
        return Some(rest);
    }
    let mut text = String::new();
    loop {
        let (plain, after) = rest.split_at(rest.find(['<', '&'])?);
        if plain.contains("]]>") {
            return None;
        }
        text += plain;
        rest = if let Some(after) = after.strip_prefix("</") {
            let after = after.strip_prefix(name)?.trim_start_matches(space);
            elements.push((path, text));
            return after.strip_prefix('>');
        } else if let Some(after) = after.strip_prefix("<!--") {
            comment(after)?
        } else if let Some(after) = after.strip_prefix("<![CDATA[") {
            let (kept, after) = after.split_once("]]>")?;
            text += kept;
            after
        } else if let Some(after) = after.strip_prefix('&') {
            let (said, after) = after.split_once(';')?;
            text.push(reference(said)?);
            after
        } else {
            element(after, &path, elements)?
        };
    }
}

/// 4.1 and 4.6
fn reference(said: &str) -> Option<char> {
    let number = |digits: &str, radix| {
        let plain = digits.chars().all(|c| c.is_digit(radix));
        let number = u32::from_str_radix(digits, radix).ok();
        char::from_u32(number.filter(|c| plain && allowed(*c))?)
    };
    match said {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => match said.strip_prefix("#x") {
            Some(digits) => number(digits, 16),
            None => number(said.strip_prefix('#')?, 10),
        },
    }
}
