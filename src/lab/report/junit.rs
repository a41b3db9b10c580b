use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::Report;
use crate::lab::{Claim, Verdict};

/// What became of a test, in JUnit's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JunitResult {
    /// It held.
    Passed,
    /// What was expected did not come; why, in one line.
    Failed(String),
    /// Nothing can be said; why, in one line.
    Error(String),
    /// It was not expected to hold, or was not tried; why, in one line.
    Skipped(String),
}

/// A test, in JUnit's words.
#[derive(Clone, Debug, PartialEq)]
pub struct JunitCase {
    /// What it belongs to: JUnit's `classname`.
    pub group: String,
    /// Its name.
    pub name: String,
    /// How long it took, in seconds; 0 where it was not measured for itself.
    pub seconds: f64,
    /// What came out.
    pub result: JunitResult,
    /// More, line by line: `system-out`.
    pub output: Vec<String>,
}

/// A suite of tests, in JUnit's words.
#[derive(Clone, Debug, PartialEq)]
pub struct JunitSuite {
    /// Its name.
    pub name: String,
    /// When it ran.
    pub timestamp: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Parameters and versions, by name.
    pub properties: BTreeMap<String, String>,
    /// Its tests, in order.
    pub cases: Vec<JunitCase>,
}

impl JunitSuite {
    /// The suite as a JUnit XML document, as Jenkins, GitLab and GitHub's reporters read it: `testsuites`,
    /// one `testsuite`, a `testcase` for each test with `failure`, `error` or `skipped`. Characters
    /// that XML 1.0 has no way to write become U+FFFD.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut out = Writer::new_with_indent(Vec::new(), b' ', 2);
        self.write(&mut out)
            .expect("writing into memory does not fail");
        let mut xml = out.into_inner();
        xml.push(b'\n');
        xml
    }

    fn write(&self, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
        out.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let of = |kind: fn(&JunitResult) -> bool| {
            let some = self.cases.iter().filter(|c| kind(&c.result));
            some.count().to_string()
        };
        let counts = [
            ("tests", self.cases.len().to_string()),
            ("failures", of(|r| matches!(r, JunitResult::Failed(_)))),
            ("errors", of(|r| matches!(r, JunitResult::Error(_)))),
            ("skipped", of(|r| matches!(r, JunitResult::Skipped(_)))),
            ("time", seconds(self.seconds)),
        ];
        let counts: Vec<(&str, &str)> = counts.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let (name, when) = (text(&self.name), format!("{:.0}", self.timestamp));
        let own = [("name", name.as_str()), ("timestamp", when.as_str())];
        let suites = out.create_element("testsuites").with_attributes([own[0]]);
        suites
            .with_attributes(counts.iter().copied())
            .write_inner_content(|out| {
                let suite = out.create_element("testsuite").with_attributes(own);
                suite
                    .with_attributes(counts.iter().copied())
                    .write_inner_content(|out| self.content(out))?;
                Ok(())
            })?;
        Ok(())
    }

    fn content(&self, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
        if !self.properties.is_empty() {
            out.create_element("properties")
                .write_inner_content(|out| {
                    for (name, value) in &self.properties {
                        let (name, value) = (text(name), text(value));
                        out.create_element("property")
                            .with_attributes([("name", name.as_str()), ("value", value.as_str())])
                            .write_empty()?;
                    }
                    Ok(())
                })?;
        }
        self.cases.iter().try_for_each(|case| case.write(out))
    }
}

impl JunitCase {
    fn write(&self, out: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let (group, name, time) = (text(&self.group), text(&self.name), seconds(self.seconds));
        let case = out.create_element("testcase").with_attributes([
            ("classname", group.as_str()),
            ("name", name.as_str()),
            ("time", time.as_str()),
        ]);
        if self.result == JunitResult::Passed && self.output.is_empty() {
            case.write_empty()?;
            return Ok(());
        }
        case.write_inner_content(|out| {
            let told = match &self.result {
                JunitResult::Passed => None,
                JunitResult::Failed(why) => Some(("failure", why)),
                JunitResult::Error(why) => Some(("error", why)),
                JunitResult::Skipped(why) => Some(("skipped", why)),
            };
            if let Some((element, why)) = told {
                let why = text(why);
                out.create_element(element)
                    .with_attributes([("message", why.as_str())])
                    .write_empty()?;
            }
            if !self.output.is_empty() {
                let lines = text(&self.output.join("\n"));
                out.create_element("system-out")
                    .write_text_content(BytesText::new(&lines))?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl From<&Report> for JunitSuite {
    /// A claim is a test. One that is declared not to be protected, or was not tried, is skipped, with
    /// the reason: it did not pass.
    fn from(report: &Report) -> Self {
        let mut properties = report.meta.parameters.clone();
        properties.extend(report.versions.clone());
        properties.insert("seed".to_owned(), report.meta.seed.to_string());
        Self {
            name: report.meta.command.clone(),
            timestamp: report.meta.generated,
            seconds: report.steps.iter().map(|s| s.seconds).sum(),
            properties,
            cases: report.claims.iter().map(JunitCase::from).collect(),
        }
    }
}

impl From<&Claim> for JunitCase {
    fn from(claim: &Claim) -> Self {
        let evidence = &claim.evidence;
        let because = |what: &str| {
            let why = evidence.reason.as_ref().unwrap_or(&evidence.summary);
            format!("{what}: {why}")
        };
        let result = match claim.verdict {
            Verdict::Holds => JunitResult::Passed,
            Verdict::Fails => JunitResult::Failed(evidence.summary.clone()),
            Verdict::Inconclusive => JunitResult::Error(because("inconclusive")),
            Verdict::NotProtected => JunitResult::Skipped(because("not protected")),
            Verdict::NotTried => JunitResult::Skipped(because("not tried in this run")),
        };
        let mut output = vec![claim.text.clone(), evidence.summary.clone()];
        let control = evidence.control.as_ref();
        output.extend(control.map(|c| format!("On the unprotected twin: {}", c.summary)));
        Self {
            group: claim.id.split('/').next().unwrap_or_default().to_owned(),
            name: claim.id.clone(),
            seconds: 0.0,
            result,
            output,
        }
    }
}

fn seconds(s: f64) -> String {
    format!("{s:.3}")
}

/// `text` without what XML 1.0 forbids (section 2.2, Char).
fn text(text: &str) -> String {
    let char = |c: char| match c {
        '\t' | '\n' | '\r' => c,
        '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(cases: Vec<JunitCase>) -> JunitSuite {
        JunitSuite {
            name: "a \"suite\"".to_owned(),
            timestamp: Timestamp::UNIX_EPOCH,
            seconds: 1.5,
            properties: BTreeMap::from([("seed".to_owned(), "1".to_owned())]),
            cases,
        }
    }

    fn case(name: &str, result: JunitResult) -> JunitCase {
        JunitCase {
            group: "g".to_owned(),
            name: name.to_owned(),
            seconds: 0.0,
            result,
            output: Vec::new(),
        }
    }

    #[test]
    fn a_failure_reaches_the_build_server_and_what_did_not_run_does_not_pass() {
        let xml = suite(vec![
            case("ok", JunitResult::Passed),
            case(
                "bad",
                JunitResult::Failed("it\u{1} <leaked> & \"left\"".to_owned()),
            ),
            case("vague", JunitResult::Error("no twin".to_owned())),
            case("open", JunitResult::Skipped("not protected".to_owned())),
        ])
        .to_xml();
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="a &quot;suite&quot;" tests="4" failures="1" errors="1" skipped="1" time="1.500">
  <testsuite name="a &quot;suite&quot;" timestamp="1970-01-01T00:00:00Z" tests="4" failures="1" errors="1" skipped="1" time="1.500">
    <properties>
      <property name="seed" value="1"/>
    </properties>
    <testcase classname="g" name="ok" time="0.000"/>
    <testcase classname="g" name="bad" time="0.000">
      <failure message="it� &lt;leaked&gt; &amp; &quot;left&quot;"/>
    </testcase>
    <testcase classname="g" name="vague" time="0.000">
      <error message="no twin"/>
    </testcase>
    <testcase classname="g" name="open" time="0.000">
      <skipped message="not protected"/>
    </testcase>
  </testsuite>
</testsuites>
"#;
        assert_eq!(String::from_utf8(xml).unwrap(), expected);
    }
}
