//! Bodies in XML.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::{policy, service, xml};
use super::config;
use super::plain_xml::{self, Elements};
use super::text::{altered, edits};
use crate::resource::blob::{Block, BlockId};

/// One of each document that is read, and what else there is in XML.
const CORPUS: [&str; 8] = [
    "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<BlockList>\r\n  <Latest>AAAA</Latest>\
     <Committed> AAAB </Committed><!-- x --><Uncommitted>AAAC</Uncommitted></BlockList>\r\n",
    "<?xml version='1.0' encoding='UTF-8' standalone='yes'?><Tags><TagSet><Tag><Key>a</Key><Value>1 +-./:=_\
     </Value></Tag><Tag><Key>b&#x63;</Key><Value/></Tag></TagSet></Tags>",
    "<KeyInfo><Start>2026-01-02T03:04:05Z</Start><Expiry>2026-01-03T03:04:05Z</Expiry></KeyInfo>",
    "<SignedIdentifiers><SignedIdentifier><Id>a &amp; <![CDATA[<b>&]]></Id><AccessPolicy>\
     <Start>2026-01-02</Start><Expiry>2026-01-03T03:04:05.0000000Z</Expiry><Permission>rl</Permission>\
     </AccessPolicy></SignedIdentifier><SignedIdentifier><Id>b</Id></SignedIdentifier></SignedIdentifiers>",
    "<StorageServiceProperties><Logging><Version>1.0</Version><RetentionPolicy><Enabled>false</Enabled>\
     </RetentionPolicy></Logging><Cors><CorsRule><AllowedOrigins>http://a?b&amp;c,&quot;</AllowedOrigins>\
     </CorsRule><CorsRule/></Cors><DefaultServiceVersion>2026-10-06</DefaultServiceVersion></StorageServiceProperties>",
    "<BlockList a=\"1>\" b = '\"'><Latest  >AAAA</Latest ></BlockList >",
    "<BlockList/>",
    "<a>&lt;&gt;&apos;&quot;&#65;&#x1F600;<b>\r\n<c> x <d/> y </c></b>z</a><!--e-->",
];

/// What is put somewhere.
const TOKENS: &[&str] = &[
    "<",
    ">",
    "&",
    ";",
    "/",
    "\"",
    "'",
    "=",
    " ",
    "\r",
    "\n",
    "\u{0}",
    "\u{1}",
    "\u{85}",
    "\u{a0}",
    "\u{fffe}",
    "\u{feff}",
    "é",
    "]]>",
    "<![CDATA[",
    "<!--",
    "--",
    "-->",
    "<?xml version=\"1.0\"?>",
    "<?p?>",
    "<?xml version=\"1.0\" encoding=\"utf-16\"?>",
    "<!DOCTYPE a>",
    "<!ENTITY a \"b\">",
    "&a;",
    "&#0;",
    "&#1;",
    "&#xD800;",
    "&#+65;",
    "&#x0000000041;",
    "&amp;lt;",
    "<a>",
    "</a>",
    "<a/>",
    " a=\"b\"",
    "<Latest>AAAA</Latest>",
];

fn elements(body: &[u8]) -> Option<Elements> {
    let mut elements = Elements::new();
    let read = xml::read(body, &mut |path, text| {
        let path = path.iter().map(|&name| name.to_owned()).collect();
        elements.push((path, text.to_owned()));
        Some(())
    });
    read.ok().map(|()| elements)
}

/// The blocks that another reader finds.
fn blocks(elements: &Elements) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    for (path, text) in elements {
        let make = match path.join("/").as_str() {
            "BlockList" if text.trim().is_empty() => continue,
            "BlockList/Latest" => Block::Latest,
            "BlockList/Committed" => Block::Committed,
            "BlockList/Uncommitted" => Block::Uncommitted,
            _ => return None,
        };
        blocks.push(make(BlockId::from_base64(text.trim())?));
    }
    Some(blocks)
}

/// What is said in it, read from what was written of it.
fn told_again(body: &[u8]) {
    if let Ok(tags) = xml::read_tags(body) {
        assert_eq!(xml::read_tags(&xml::tags(&tags)).unwrap(), tags);
    }
    if let Ok(policies) = policy::read(body) {
        let told = policy::document(&policies);
        assert!(plain_xml::read(&told).is_some());
        assert_eq!(policy::read(&told).unwrap(), policies);
    }
    if let Ok(properties) = service::read(body) {
        let told = service::document(&properties);
        assert!(plain_xml::read(&told).is_some());
        assert_eq!(service::read(&told).unwrap(), properties);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn xml_that_two_readers_read_as_two_things_is_not_taken(good in select(CORPUS.to_vec()), edits in edits(TOKENS, 11, 59)) {
        let body = altered(good, &edits);
        let (read, expected) = (elements(&body), plain_xml::read(&body));
        prop_assert_eq!(&read, &expected, "{}", String::from_utf8_lossy(&body));
        let listed = xml::read_block_list(&body).ok();
        prop_assert_eq!(listed, expected.as_ref().and_then(blocks));
        told_again(&body);
        // What is kept is no more than what was sent.
        let kept: usize = read.iter().flatten().map(|(_, text)| text.len()).sum();
        prop_assert!(kept <= body.len());
    }
}

/// The control: each is read, by both.
#[test]
fn corpus_of_xml_is_right() {
    for good in CORPUS {
        assert!(elements(good.as_bytes()).is_some(), "{good}");
        assert_eq!(
            elements(good.as_bytes()),
            plain_xml::read(good.as_bytes()),
            "{good}"
        );
    }
    let count = |read: &dyn Fn(&str) -> bool| CORPUS.iter().filter(|good| read(good)).count();
    assert_eq!(
        count(&|good| xml::read_block_list(good.as_bytes()).is_ok()),
        3
    );
    assert_eq!(count(&|good| xml::read_tags(good.as_bytes()).is_ok()), 1);
    assert_eq!(count(&|good| policy::read(good.as_bytes()).is_ok()), 1);
    assert_eq!(count(&|good| service::read(good.as_bytes()).is_ok()), 1);
}

#[test]
fn bomb_is_refused_before_it_grows() {
    let laughs: String = (1..10)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let bombs = [
        format!(
            "<!DOCTYPE l [<!ENTITY l0 \"ha\">{laughs}]><BlockList><Latest>&l9;</Latest></BlockList>"
        ),
        "<!DOCTYPE l SYSTEM \"file:///etc/passwd\"><BlockList/>".to_owned(),
        "<!DOCTYPE l [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><BlockList>&x;</BlockList>"
            .to_owned(),
        "<?xml-stylesheet href=\"x\"?><BlockList/>".to_owned(),
        format!("{}{}", "<a>".repeat(1_000_000), "</a>".repeat(1_000_000)),
        format!("<BlockList>{}", "<a>".repeat(1_000_000)),
        format!("<BlockList>{}</BlockList>", "&l0;".repeat(1_000_000)),
    ];
    for bomb in bombs {
        let mut steps = 0;
        let read = xml::read(bomb.as_bytes(), &mut |_, _| {
            steps += 1;
            Some(())
        });
        assert!(read.is_err(), "{}", &bomb[..40]);
        assert_eq!(steps, 0, "{}", &bomb[..40]);
    }
    // The control: as deep as may be, and as long.
    let deep = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
    assert!(elements(deep(xml::DEPTH_MAX).as_bytes()).is_some());
    assert!(elements(deep(xml::DEPTH_MAX + 1).as_bytes()).is_none());
    let empty = format!("<a>{}</a>", "<b/>".repeat(xml::DEPTH_MAX * 1_000));
    assert_eq!(
        elements(empty.as_bytes()).unwrap().len(),
        xml::DEPTH_MAX * 1_000 + 1
    );
    let attributes: String = (0..100_000).map(|n| format!(" a{n}=\"\"")).collect();
    assert!(elements(format!("<a{attributes}/>").as_bytes()).is_some());
}
