//! What is wrong with a file, and where.

use std::fmt;
use std::path::Path;

use serde_saphyr::Error;

use super::at::Position;
use super::words::nearest;

/// Something that is wrong with a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub position: Position,
    /// What, and what to do.
    pub what: String,
}

impl Problem {
    pub(super) fn new(position: Position, what: impl Into<String>) -> Self {
        Self {
            position,
            what: what.into(),
        }
    }

    /// A name that means nothing here, with the one that it may be meant to be.
    pub(super) fn unknown<'a>(
        position: Position,
        kind: &str,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let mut some: Vec<&str> = known.clone().take(9).collect();
        let advice = match (nearest(name, known), some.len()) {
            (Some(near), _) => format!("did you mean {near:?}?"),
            (None, 0) => "there is none at this step".to_owned(),
            (None, 9) => {
                some.pop();
                format!("there are {}, ...", some.join(", "))
            }
            (None, _) => format!("there is {}", some.join(", ")),
        };
        Self::new(position, format!("no {kind} {name:?} here; {advice}"))
    }

    /// What the parser says.
    pub(super) fn parser(error: &Error) -> Self {
        let error = error.without_snippet();
        let position = error.location().map_or_else(Position::default, |place| {
            let number = |n: u64| usize::try_from(n).unwrap_or(0);
            Position {
                line: number(place.line()),
                column: number(place.column()),
            }
        });
        let what = match error {
            Error::SerdeUnknownField {
                field, expected, ..
            } => {
                let unknown = Self::unknown(position, "field", field, expected.iter().copied());
                return unknown;
            }
            Error::SerdeUnknownVariant {
                variant, expected, ..
            } => {
                let unknown = Self::unknown(position, "word", variant, expected.iter().copied());
                return unknown;
            }
            Error::SerdeMissingField { field, .. } => {
                format!("the field {field:?} is missing")
            }
            Error::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or("a name");
                format!("{key} is there twice; keep one")
            }
            Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
                "one word for each act: begin another one with `- `".to_owned()
            }
            other => {
                let text = other.to_string();
                let place = format!(" at line {}, column {}", position.line, position.column);
                text.strip_suffix(&place).unwrap_or(&text).to_owned()
            }
        };
        Self::new(position, what)
    }
}

/// A scenario file that cannot be run: nothing was done.
#[derive(Debug)]
pub struct BadFile {
    file: String,
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
    /// Each problem's line of the file, shown.
    lines: Vec<String>,
}

impl BadFile {
    pub(super) fn new(file: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.position);
        problems.dedup();
        let lines = problems.iter().map(|p| shown(text, p.position)).collect();
        Self {
            file: file.display().to_string(),
            problems,
            lines,
        }
    }
}

/// The line at `position`, with a mark below the column; empty where there is none.
fn shown(text: &str, position: Position) -> String {
    /// More of a long line is not shown.
    const WIDTH: usize = 120;
    let Some(line) = position
        .line
        .checked_sub(1)
        .and_then(|n| text.lines().nth(n))
    else {
        return String::new();
    };
    let column = position.column.saturating_sub(1);
    let from = column.saturating_sub(WIDTH / 2);
    let part = line.chars().skip(from).take(WIDTH);
    // A control character must not move a terminal's cursor.
    let part: String = part.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let number = position.line.to_string();
    let margin = " ".repeat(number.len());
    format!(
        "\n  {number} | {}\n  {margin} | {:indent$}^",
        part.trim_end(),
        "",
        indent = column - from
    )
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (problem, line)) in self.problems.iter().zip(&self.lines).enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file)?;
            if problem.position != Position::default() {
                write!(f, ":{}:{}", problem.position.line, problem.position.column)?;
            }
            write!(f, ": {}{line}", problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for BadFile {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_where_it_is_also_in_a_line_without_end() {
        let text = format!("a: b\n{}x\u{1b}[2J\n", "ä".repeat(500));
        let at = Position {
            line: 2,
            column: 501,
        };
        let bad = BadFile::new(Path::new("f.yaml"), &text, vec![Problem::new(at, "wrong")]);
        let told = bad.to_string();
        assert!(told.starts_with("f.yaml:2:501: wrong\n  2 | ää"), "{told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
        let marked = told.lines().last().unwrap().chars().count();
        let line = told.lines().nth(1).unwrap();
        assert_eq!(line.chars().nth(marked - 1), Some('x'), "{told}");
        assert!(
            told.lines().all(|line| line.chars().count() < 140),
            "{told}"
        );
    }
}
