//! Histories as JSON lines: writing, reading back, and merging what several processes wrote.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::history::{At, Line};

/// A history that was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Its lines.
    pub lines: Vec<Line>,
    /// What there is of a last line that was not written to its end, because whoever wrote it died.
    pub torn: Option<String>,
}

/// Why a history cannot be read.
#[derive(Debug)]
pub enum Damaged {
    /// The file cannot be read.
    Io(io::Error),
    /// A line is none of a history.
    Line {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("the history cannot be read"),
            Self::Line { number, .. } => write!(f, "line {number} is none of a history"),
        }
    }
}

impl std::error::Error for Damaged {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Line { error, .. } => Some(error),
        }
    }
}

impl From<io::Error> for Damaged {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes one line.
///
/// # Errors
/// What the operating system says.
pub fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Writes a history, in the place of what was there.
///
/// # Errors
/// What the operating system says.
pub fn write(path: &Path, lines: &[Line]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for line in lines {
        write_line(&mut out, line)?;
    }
    out.flush()
}

/// Reads a history back.
///
/// # Errors
/// That it cannot be read, or the first line that is damaged. A last line without an end is no error.
pub fn read(path: &Path) -> Result<History, Damaged> {
    parse(&fs::read(path)?)
}

/// Reads a history from what is in its file.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<History, Damaged> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    let mut number = 0;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        number += 1;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        lines.push(serde_json::from_slice(line).map_err(|error| Damaged::Line { number, error })?);
    }
    let torn = (!rest.is_empty()).then(|| String::from_utf8_lossy(rest).into_owned());
    Ok(History { lines, torn })
}

/// When a line was written; none where it does not say.
#[must_use]
pub fn at(line: &Line) -> Option<At> {
    match line {
        Line::Run(_) => Some(At(0)),
        Line::Operation(operation) => Some(operation.returned),
        Line::Told(told) => Some(told.at),
        Line::Viewed(viewed) => Some(viewed.at),
        Line::Owner(owner) => Some(owner.at),
        Line::Nemesis(nemesis) => Some(nemesis.at),
        Line::Truth(_) => None,
        Line::Final(last) => Some(last.invoked),
        Line::Note(note) => Some(note.at),
    }
}

/// All lines of several recorders by time. Of lines of the same time those of an earlier recorder come first, and those of one recorder stay as they
/// are. A line that does not say when it was written follows what its recorder wrote before it.
#[must_use]
pub fn merge(recordings: Vec<Vec<Line>>) -> Vec<Line> {
    let timed = recordings.into_iter().flat_map(|lines| {
        lines.into_iter().scan(At(0), |latest, line| {
            let at = at(&line).unwrap_or(*latest);
            *latest = at.max(*latest);
            Some((at, line))
        })
    });
    let mut all: Vec<(At, Line)> = timed.collect();
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::super::history::{At, Change, Line, Note, Position, Truth};
    use super::{merge, parse, write_line};

    fn note(at: u64, what: &str) -> Line {
        Line::Note(Note { at: At(at), what: what.to_owned(), figure: None })
    }

    fn truth(revision: u64) -> Line {
        let change = Change::Delete { id: "a".to_owned(), cause: None };
        Line::Truth(Truth { position: Position { epoch: 1, revision }, branch: 0, change, listed: false })
    }

    fn written(lines: &[Line]) -> Vec<u8> {
        let mut bytes = Vec::new();
        lines.iter().for_each(|line| write_line(&mut bytes, line).unwrap());
        bytes
    }

    #[test]
    fn what_is_written_is_read_back() {
        let lines = vec![note(1, "one\ntwo"), truth(3), note(2, "")];
        let history = parse(&written(&lines)).unwrap();
        assert_eq!((history.lines, history.torn), (lines, None));
    }

    #[test]
    fn a_torn_last_line_is_told_and_the_rest_kept() {
        let bytes = written(&[note(1, "a"), note(2, "b")]);
        let history = parse(&bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(history.lines, [note(1, "a")]);
        assert!(history.torn.unwrap().starts_with(r#"{"line":"note""#));
    }

    #[test]
    fn a_damaged_line_is_named_by_its_number() {
        let mut bytes = written(&[note(1, "a")]);
        bytes.extend(b"{\"line\":\"nonsense\"}\n");
        bytes.extend(written(&[note(2, "b")]));
        let damaged = parse(&bytes).unwrap_err();
        assert!(damaged.to_string().contains("line 2"), "{damaged}");
        assert!(damaged.source().unwrap().to_string().contains("nonsense"));
    }

    #[test]
    fn recordings_are_merged_by_time_and_stay_in_order_at_the_same_time() {
        let merged = merge(vec![
            vec![note(5, "a"), truth(1), note(9, "b")],
            vec![note(5, "c"), note(1, "late"), truth(2), note(7, "d")],
        ]);
        let late = note(1, "late");
        let expected = [late, note(5, "a"), truth(1), note(5, "c"), truth(2), note(7, "d"), note(9, "b")];
        assert_eq!(merged, expected);
    }
}
