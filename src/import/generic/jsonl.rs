//! The lines of a JSON Lines log: an object each, whose keys are the fields.

use std::fmt;
use std::io::BufRead;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::super::accounting::UnrecognisedReason;
use super::super::line_records::{LineFormat, LineRecords, ParsedLine};
use super::super::stacks::StackTable;
use super::Scalar;
use super::fields::{Field, Fields, Meaning, ONCE, field};

/// Iterates over the lines of a JSON Lines log.
pub(crate) type JsonlReader<R> = LineRecords<R, JsonlParser>;

/// Reads lines.
#[derive(Debug, Default)]
pub(crate) struct JsonlParser {
    meaning: Meaning,
}

impl<R: BufRead> JsonlReader<R> {
    /// Reads from `source`, which is at the start of a line.
    pub(crate) fn new(source: R) -> JsonlReader<R> {
        LineRecords::of(source, JsonlParser::default())
    }
}

impl LineFormat for JsonlParser {
    fn parse(&mut self, line: &[u8], position: u64) -> Result<ParsedLine, UnrecognisedReason> {
        const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;
        let line = std::str::from_utf8(line).map_err(|_| NO_FORM)?;
        if line.starts_with('#') {
            return Ok(ParsedLine::Other("other-comment"));
        }
        let object: Object<'_> = serde_json::from_str(line).map_err(|_| NO_FORM)?;
        let texts: Vec<(Field, String)> = object
            .0
            .into_iter()
            .map(|(field, value)| (field, text(value)))
            .collect();
        // Which of two is meant nobody knows: as with columns of a CSV log.
        let twice = |wanted| texts.iter().filter(|(field, _)| *field == wanted).count() > 1;
        if ONCE.into_iter().any(twice) {
            return Err(NO_FORM);
        }
        let mut fields = Fields::default();
        for (field, text) in &texts {
            fields.set(*field, text.trim());
        }
        self.meaning.record(&fields, position)
    }

    fn names(&self) -> Option<&StackTable> {
        Some(self.meaning.names())
    }
}

/// A value as a CSV row would have it.
fn text(value: Scalar<'_>) -> String {
    match value {
        Scalar::Text(text) => text.into_owned(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Float(number) => format!("{number:.9}"),
        Scalar::Other => String::new(),
    }
}

/// The fields of an object that have a meaning.
struct Object<'a>(Vec<(Field, Scalar<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'a>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = entries.next_key::<Scalar<'de>>()? {
            match key.text().and_then(field) {
                Some(field) => fields.push((field, entries.next_value()?)),
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Object(fields))
    }
}
