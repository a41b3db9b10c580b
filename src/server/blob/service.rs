//! The properties of the service: kept and told, and without an effect here. What would have one is refused.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::xml::{self, Document};

/// The elements that there may be, in the order in which they are told.
const ELEMENTS: [&str; 7] = [
    "Logging",
    "HourMetrics",
    "MinuteMetrics",
    "Cors",
    "DefaultServiceVersion",
    "DeleteRetentionPolicy",
    "StaticWebsite",
];
/// Of those, what would change what other requests do.
const REFUSED: [(&str, &str); 2] = [
    ("DeleteRetentionPolicy", "retention of deleted blobs"),
    ("StaticWebsite", "static websites"),
];

/// An element, with what is in it.
struct Node {
    name: String,
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn write(&self, document: &mut Document) {
        if self.children.is_empty() {
            return document.text(&self.name, self.text.trim());
        }
        document.open(&self.name);
        self.children.iter().for_each(|child| child.write(document));
        document.close(&self.name);
    }

    fn says(&self, name: &str, value: &str) -> bool {
        let mut children = self.children.iter();
        children.any(|child| child.name == name && child.text.trim() == value)
    }
}

pub(super) fn document(properties: &BTreeMap<String, String>) -> Vec<u8> {
    let mut document = Document::new();
    document.open("StorageServiceProperties");
    for xml in ELEMENTS.iter().filter_map(|name| properties.get(*name)) {
        document.raw(xml);
    }
    document.close("StorageServiceProperties");
    document.finish()
}

/// What Set Blob Service Properties sends: each element as it will be told.
pub(super) fn read(body: &[u8]) -> Result<BTreeMap<String, String>, Fault> {
    // Elements whose parent has not ended, with how deep each is.
    let mut open: Vec<(usize, Node)> = Vec::new();
    xml::read(body, &mut |path, text| {
        if path[0] != "StorageServiceProperties" {
            return None;
        }
        let depth = path.len();
        let first = open.iter().position(|(at, _)| *at > depth);
        let inside = open.split_off(first.unwrap_or(open.len()));
        open.push((
            depth,
            Node {
                name: (*path.last()?).to_owned(),
                text: text.to_owned(),
                children: inside.into_iter().map(|(_, node)| node).collect(),
            },
        ));
        Some(())
    })?;
    let mut all = BTreeMap::new();
    for node in open.into_iter().flat_map(|(_, root)| root.children) {
        if !ELEMENTS.contains(&node.name.as_str()) {
            return Err(xml::invalid_xml());
        }
        let refused = REFUSED.iter().find(|(name, _)| *name == node.name);
        if let Some((_, what)) = refused.filter(|_| node.says("Enabled", "true")) {
            return Err(Fault::not_here(what));
        }
        let mut part = Document::part();
        node.write(&mut part);
        let xml = String::from_utf8(part.finish()).map_err(|_| xml::invalid_xml())?;
        all.insert(node.name, xml);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_back_as_they_were_written() {
        let rule = |origin: &str| {
            format!(
                "<CorsRule><AllowedOrigins>{origin}</AllowedOrigins><MaxAgeInSeconds>5</MaxAgeInSeconds></CorsRule>"
            )
        };
        let cors = format!("<Cors>{}{}</Cors>", rule("a&amp;b"), rule("*"));
        let logging = "<Logging><Version>1.0</Version><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>";
        let body =
            |inside: &str| format!("<StorageServiceProperties>{inside}</StorageServiceProperties>");
        let read = |inside: &str| read(body(inside).as_bytes());
        let all = read(&format!("{cors}\n {logging}")).unwrap();
        let told = String::from_utf8(document(&all)).unwrap();
        assert!(told.ends_with(&body(&format!("{logging}{cors}"))), "{told}");
        assert!(read("").unwrap().is_empty());
        let off = "<DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>";
        assert!(read(off).is_ok());
        for bad in [
            "<Other/>",
            "<Cors>",
            "<DeleteRetentionPolicy><Enabled>true</Enabled><Days>7</Days></DeleteRetentionPolicy>",
            "<StaticWebsite><Enabled> true </Enabled></StaticWebsite>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
