//! The XML of the Blob service's bodies.

use quick_xml::Reader;
use quick_xml::Writer;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use crate::resource::blob::{Block, BlockId, BlockList, ListedBlock, Pairs};

use super::fault::Fault;

/// The most index tags of a blob, and the longest name and value of one, in characters (the service's).
const TAGS_MAX: usize = 10;
const TAG_NAME_MAX: usize = 128;
const TAG_VALUE_MAX: usize = 256;

/// A document that is being written.
pub(super) struct Document(Writer<Vec<u8>>);

impl Document {
    pub(super) fn new() -> Self {
        let mut document = Self(Writer::new(Vec::new()));
        document.event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)));
        document
    }

    fn event(&mut self, event: Event<'_>) {
        self.0
            .write_event(event)
            .expect("writing to memory succeeds");
    }

    /// Begins an element.
    pub(super) fn open(&mut self, name: &str) {
        self.event(Event::Start(BytesStart::new(name)));
    }

    /// Begins an element with attributes.
    pub(super) fn open_with(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let start = BytesStart::new(name).with_attributes(attributes.iter().copied());
        self.event(Event::Start(start));
    }

    pub(super) fn close(&mut self, name: &str) {
        self.event(Event::End(BytesEnd::new(name)));
    }

    /// An element that holds a text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        self.event(Event::Text(BytesText::new(text)));
        self.close(name);
    }

    /// A name, which may hold characters that XML has no form for: then it is percent-encoded.
    pub(super) fn name(&mut self, name: &str) {
        let no_xml = |c: char| matches!(c, '\u{fffe}' | '\u{ffff}');
        if !name.contains(no_xml) {
            return self.text("Name", name);
        }
        let encoded =
            percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        self.open_with("Name", &[("Encoded", "true")]);
        self.event(Event::Text(BytesText::new(&encoded.to_string())));
        self.close("Name");
    }

    pub(super) fn pairs(&mut self, name: &str, pairs: &Pairs) {
        self.open(name);
        for (name, value) in pairs {
            self.text(name, value);
        }
        self.close(name);
    }

    pub(super) fn tags(&mut self, tags: &Pairs) {
        self.open("Tags");
        self.open("TagSet");
        for (name, value) in tags {
            self.open("Tag");
            self.text("Key", name);
            self.text("Value", value);
            self.close("Tag");
        }
        self.close("TagSet");
        self.close("Tags");
    }

    /// What was written by another document.
    pub(super) fn raw(&mut self, xml: &str) {
        self.0.get_mut().extend_from_slice(xml.as_bytes());
    }

    /// A part of one, without its declaration.
    pub(super) fn part() -> Self {
        Self(Writer::new(Vec::new()))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_inner()
    }
}

pub(super) fn error(code: &str, message: &str) -> Vec<u8> {
    let mut document = Document::new();
    document.open("Error");
    document.text("Code", code);
    document.text("Message", message);
    document.close("Error");
    document.finish()
}

pub(super) fn tags(tags: &Pairs) -> Vec<u8> {
    let mut document = Document::new();
    document.tags(tags);
    document.finish()
}

/// The answer to Get Block List.
pub(super) fn block_list(list: &BlockList, committed: bool, uncommitted: bool) -> Vec<u8> {
    let mut document = Document::new();
    document.open("BlockList");
    let mut part = |name: &str, wanted: bool, blocks: &[ListedBlock]| {
        if wanted {
            document.open(name);
            for block in blocks {
                document.open("Block");
                document.text("Name", &block.id.to_string());
                document.text("Size", &block.size.to_string());
                document.close("Block");
            }
            document.close(name);
        }
    };
    part("CommittedBlocks", committed, &list.committed);
    part("UncommittedBlocks", uncommitted, &list.uncommitted);
    document.close("BlockList");
    document.finish()
}

/// What Put Block List sends.
pub(super) fn read_block_list(body: &[u8]) -> Result<Vec<Block>, Fault> {
    let mut blocks = Vec::new();
    read(body, &mut |path, text| {
        let make = match path {
            ["BlockList", "Latest"] => Block::Latest,
            ["BlockList", "Committed"] => Block::Committed,
            ["BlockList", "Uncommitted"] => Block::Uncommitted,
            ["BlockList"] if text.trim().is_empty() => return Some(()),
            _ => return None,
        };
        if blocks.len() <= BlockId::COMMITTED_MAX {
            blocks.push(make(BlockId::from_base64(text.trim())?));
        }
        Some(())
    })?;
    if blocks.len() > BlockId::COMMITTED_MAX {
        let why = "The block list may not contain more than 50,000 blocks.";
        return Err(Fault::bad("BlockListTooLong", why));
    }
    Ok(blocks)
}

/// What Set Blob Tags sends.
pub(super) fn read_tags(body: &[u8]) -> Result<Pairs, Fault> {
    let mut all: Vec<(String, Option<String>)> = Vec::new();
    read(body, &mut |path, text| {
        match path {
            ["Tags", "TagSet", "Tag", "Key"] => all.push((text.to_owned(), None)),
            ["Tags", "TagSet", "Tag", "Value"] => match all.last_mut() {
                Some((_, value @ None)) => *value = Some(text.to_owned()),
                _ => return None,
            },
            ["Tags"] | ["Tags", "TagSet"] | ["Tags", "TagSet", "Tag"] => {
                return text.trim().is_empty().then_some(());
            }
            _ => return None,
        }
        (all.len() <= TAGS_MAX).then_some(())
    })?;
    let all = all.into_iter().map(|(name, value)| Some((name, value?)));
    let all = all.collect::<Option<Vec<_>>>().ok_or_else(invalid_xml)?;
    checked_tags(all)
}

/// The index tags of these names and values.
pub(super) fn checked_tags(all: Vec<(String, String)>) -> Result<Pairs, Fault> {
    let letter = |c: char| c.is_ascii_alphanumeric() || " +-./:=_".contains(c);
    let fits = |(name, value): &(String, String)| {
        (1..=TAG_NAME_MAX).contains(&name.len())
            && value.len() <= TAG_VALUE_MAX
            && name.chars().chain(value.chars()).all(letter)
    };
    let invalid = || Fault::bad("InvalidTag", "The tags specified are invalid.");
    if all.len() > TAGS_MAX || !all.iter().all(fits) {
        return Err(invalid());
    }
    let count = all.len();
    let tags: Pairs = all.into_iter().collect();
    match tags.len() == count {
        true => Ok(tags),
        false => Err(invalid()),
    }
}

pub(super) fn invalid_xml() -> Fault {
    Fault::bad(
        "InvalidXmlDocument",
        "XML specified is not syntactically valid.",
    )
}

/// How deep elements may lie.
pub(super) const DEPTH_MAX: usize = 8;

/// Whether XML 1.0 has a form for it (2.2).
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Whether it is an element's name, as all of the service's are.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
}

fn is_space(text: &str) -> bool {
    text.bytes().all(|b| b" \t\r\n".contains(&b))
}

/// Whether a declaration says what is so (2.8): version 1, UTF-8.
fn is_of_utf8(declaration: &BytesDecl<'_>) -> bool {
    let said = BytesStart::from_content(&**declaration, "xml".len());
    let pair = |attribute: Result<Attribute<'_>, _>| {
        let attribute = attribute.ok()?;
        Some((attribute.key.0.to_owned(), attribute.value.into_owned()))
    };
    let Some(said) = said.attributes().map(pair).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let mut said = said
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .peekable();
    let version = said.next() == Some(("version", "1.0"));
    said.next_if(|(name, value)| *name == "encoding" && value.eq_ignore_ascii_case("utf-8"));
    said.next_if(|(name, value)| *name == "standalone" && ["yes", "no"].contains(value));
    version && said.next().is_none()
}

/// Tells `element` the path and the text of each element as it ends. Attributes are passed over: none means anything.
pub(super) fn read(
    body: &[u8],
    element: &mut dyn FnMut(&[&str], &str) -> Option<()>,
) -> Result<(), Fault> {
    let text = std::str::from_utf8(body).map_err(|_| invalid_xml())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // What is kept of it is told again: in a document that others must be able to read. The library would pass over
    // a second mark.
    if text.starts_with('\u{feff}') || !text.chars().all(is_char) {
        return Err(invalid_xml());
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut path: Vec<(String, String)> = Vec::new();
    let mut seen_root = false;
    let mut end = |path: &mut Vec<(String, String)>| {
        let names: Vec<&str> = path.iter().map(|(name, _)| name.as_str()).collect();
        let text = &path.last().ok_or_else(invalid_xml)?.1;
        element(&names, text).ok_or_else(invalid_xml)?;
        path.pop();
        Ok::<_, Fault>(())
    };
    let mut begin = |path: &mut Vec<(String, String)>, start: &BytesStart<'_>| {
        let name = start.name().0;
        if path.is_empty() && std::mem::replace(&mut seen_root, true) {
            return Err(invalid_xml());
        }
        if path.len() == DEPTH_MAX || !is_name(name) {
            return Err(invalid_xml());
        }
        path.push((name.to_owned(), String::new()));
        Ok(())
    };
    loop {
        let at_start = reader.buffer_position() == 0;
        match reader.read_event().map_err(|_| invalid_xml())? {
            Event::Start(start) => begin(&mut path, &start)?,
            Event::Empty(start) => {
                begin(&mut path, &start)?;
                end(&mut path)?;
            }
            Event::End(_) => end(&mut path)?,
            Event::Text(text) => match path.last_mut() {
                Some(_) if text.contains("]]>") => return Err(invalid_xml()),
                Some((_, kept)) => kept.push_str(&text.xml10_content()),
                None if is_space(&text) => {}
                None => return Err(invalid_xml()),
            },
            Event::CData(text) => {
                let (_, kept) = path.last_mut().ok_or_else(invalid_xml)?;
                kept.push_str(&text.xml10_content());
            }
            Event::GeneralRef(reference) => {
                let (_, kept) = path.last_mut().ok_or_else(invalid_xml)?;
                match reference.resolve_char_ref().map_err(|_| invalid_xml())? {
                    Some(c) if is_char(c) => kept.push(c),
                    Some(_) => return Err(invalid_xml()),
                    None => {
                        let known = resolve_predefined_entity(&reference);
                        kept.push_str(known.ok_or_else(invalid_xml)?);
                    }
                }
            }
            Event::Decl(declaration) if at_start && is_of_utf8(&declaration) => {}
            Event::Comment(_) => {}
            // No entities of a document's own: they grow without bound.
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) => return Err(invalid_xml()),
            Event::Eof if path.is_empty() && seen_root => return Ok(()),
            Event::Eof => return Err(invalid_xml()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_list_keeps_its_order_whatever_its_elements_are() {
        let id = |text: &str| BlockId::from_base64(text).unwrap();
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>\n  \
             <Latest>AAAA</Latest><!-- x --><Committed>AAAB</Committed>\
             <Uncommitted> AAAC </Uncommitted><Latest>AAAA</Latest></BlockList>\n";
        let expected = [
            Block::Latest(id("AAAA")),
            Block::Committed(id("AAAB")),
            Block::Uncommitted(id("AAAC")),
            Block::Latest(id("AAAA")),
        ];
        assert_eq!(read_block_list(body.as_bytes()).unwrap(), expected);
        assert_eq!(read_block_list(b"<BlockList/>").unwrap(), []);
        for bad in [
            "",
            "<BlockList>",
            "<BlockList></Latest>",
            "<BlockList/><BlockList/>",
            "<BlockList>x</BlockList>",
            "<BlockList><Latest>*</Latest></BlockList>",
            "<BlockList><Latest/></BlockList>",
            "<BlockList><Other>AAAA</Other></BlockList>",
            "<Latest>AAAA</Latest>",
            "<!DOCTYPE x [<!ENTITY a \"AAAA\">]><BlockList><Latest>&a;</Latest></BlockList>",
        ] {
            assert!(read_block_list(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_come_back_as_they_were_written() {
        let pairs: Pairs = [
            ("a".into(), "1 +-./:=_".into()),
            ("b".into(), String::new()),
        ]
        .into();
        assert_eq!(read_tags(&tags(&pairs)).unwrap(), pairs);
        assert!(read_tags(b"<Tags><TagSet/></Tags>").unwrap().is_empty());
        let one = |key: &str, value: &str| {
            let tag = format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
            read_tags(format!("<Tags><TagSet>{tag}</TagSet></Tags>").as_bytes())
        };
        assert!(one("k", "v").is_ok());
        for (key, value) in [
            ("", "v"),
            ("&lt;", "v"),
            ("k", "&#x41;&amp;"),
            (&*"k".repeat(129), "v"),
        ] {
            assert!(one(key, value).is_err(), "{key} {value}");
        }
        assert!(read_tags(b"<Tags><TagSet><Tag><Key>a</Key></Tag></TagSet></Tags>").is_err());
        let twice = "<Tag><Key>a</Key><Value>1</Value></Tag>".repeat(2);
        assert!(read_tags(format!("<Tags><TagSet>{twice}</TagSet></Tags>").as_bytes()).is_err());
    }
}
