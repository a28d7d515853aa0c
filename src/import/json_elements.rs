//! The elements of a JSON array, one by one, in bounded memory.
//!
//! The array is the outermost value, or a value of the outermost object. An element is found by its
//! brackets alone; who reads it says whether it is JSON.

use std::io::{self, BufRead};

/// The longest element that is kept; longer ones are skipped.
pub(super) const MAX_ELEMENT_BYTES: usize = 1 << 20;

/// What became of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadElement {
    Whole,
    Overlong,
    /// The text ends in it.
    Cut,
    /// A text that is no array and no object, or what comes after it. It is the last.
    Stray,
    End,
}

/// Finds elements.
#[derive(Debug, Default)]
pub(super) struct JsonElements<R> {
    source: R,
    outside: Outside,
}

impl<R: BufRead> JsonElements<R> {
    pub(crate) fn new(source: R) -> JsonElements<R> {
        JsonElements {
            source,
            outside: Outside::default(),
        }
    }

    /// Reads the next element into `element`, of an overlong one the beginning.
    pub(crate) fn next(&mut self, element: &mut Vec<u8>) -> io::Result<ReadElement> {
        element.clear();
        let mut inside: Option<Inside> = None;
        let mut overlong = false;
        loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(match inside {
                    _ if self.outside.is_stray && !element.is_empty() => ReadElement::Stray,
                    Some(_) => ReadElement::Cut,
                    None => ReadElement::End,
                });
            }
            let mut used = 0;
            let mut ended = false;
            for byte in available {
                let keep = match &mut inside {
                    // The rest of a text that has no shape is left out.
                    None if self.outside.is_stray => element.len() < MAX_ELEMENT_BYTES / 1024,
                    None => match self.outside.step(*byte) {
                        Found::Nothing => false,
                        Found::Stray => true,
                        Found::Element(begun) => {
                            inside = Some(begun);
                            true
                        }
                    },
                    Some(inside) => match inside.step(*byte) {
                        Inner::Goes => true,
                        Inner::Completes => {
                            ended = true;
                            true
                        }
                        // It belongs to what is outside.
                        Inner::EndedBefore => {
                            ended = true;
                            break;
                        }
                    },
                };
                used += 1;
                if keep && element.len() < MAX_ELEMENT_BYTES {
                    element.push(*byte);
                } else {
                    overlong |= keep;
                }
                if ended {
                    break;
                }
            }
            self.source.consume(used);
            if ended {
                return Ok(match overlong {
                    true => ReadElement::Overlong,
                    false => ReadElement::Whole,
                });
            }
        }
    }
}

/// Where the scan is, between elements.
#[derive(Debug, Default)]
struct Outside {
    /// Containers that are open, and whether the first two are arrays.
    depth: usize,
    are_arrays: [bool; 2],
    began: bool,
    text: InText,
    is_stray: bool,
}

/// What a byte between elements is.
enum Found {
    Nothing,
    Element(Inside),
    Stray,
}

impl Outside {
    fn step(&mut self, byte: u8) -> Found {
        if self.text.is_open {
            self.text.step(byte);
            return Found::Nothing;
        }
        let elements_are_here = match self.depth {
            1 => self.are_arrays[0],
            2 => !self.are_arrays[0] && self.are_arrays[1],
            _ => false,
        };
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => Found::Nothing,
            _ if self.depth == 0 && (self.began || !matches!(byte, b'[' | b'{')) => {
                self.is_stray = true;
                Found::Stray
            }
            b']' | b'}' => {
                self.depth -= 1;
                Found::Nothing
            }
            b',' | b':' => Found::Nothing,
            _ if elements_are_here => Found::Element(Inside::begin(byte)),
            b'[' | b'{' => {
                if let Some(is_array) = self.are_arrays.get_mut(self.depth) {
                    *is_array = byte == b'[';
                }
                self.depth += 1;
                self.began = true;
                Found::Nothing
            }
            b'"' => {
                self.text.is_open = true;
                Found::Nothing
            }
            _ => Found::Nothing,
        }
    }
}

/// Where the scan is, in an element.
#[derive(Debug)]
struct Inside {
    depth: usize,
    text: InText,
    /// A number or a word: it ends before what is no part of it.
    is_bare: bool,
}

/// What a byte of an element is.
enum Inner {
    Goes,
    Completes,
    EndedBefore,
}

impl Inside {
    fn begin(byte: u8) -> Inside {
        let is_container = matches!(byte, b'[' | b'{');
        Inside {
            depth: usize::from(is_container),
            text: InText {
                is_open: byte == b'"',
                is_escaped: false,
            },
            is_bare: !is_container && byte != b'"',
        }
    }

    fn step(&mut self, byte: u8) -> Inner {
        if self.text.is_open {
            self.text.step(byte);
            let completes = !self.text.is_open && self.depth == 0;
            return if completes {
                Inner::Completes
            } else {
                Inner::Goes
            };
        }
        match byte {
            b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' if self.is_bare => Inner::EndedBefore,
            b'"' => {
                self.text.is_open = true;
                Inner::Goes
            }
            b'[' | b'{' => {
                self.depth += 1;
                Inner::Goes
            }
            b']' | b'}' => {
                self.depth -= 1;
                if self.depth == 0 {
                    Inner::Completes
                } else {
                    Inner::Goes
                }
            }
            _ => Inner::Goes,
        }
    }
}

/// Whether a text in quotes is open.
#[derive(Debug, Default)]
struct InText {
    is_open: bool,
    is_escaped: bool,
}

impl InText {
    fn step(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.is_open = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str, piece: usize) -> Vec<(ReadElement, String)> {
        let source = io::BufReader::with_capacity(piece, text.as_bytes());
        let mut elements = JsonElements::new(source);
        let mut found = Vec::new();
        let mut element = Vec::new();
        loop {
            match elements.next(&mut element).expect("bytes can be read") {
                ReadElement::End => return found,
                read => found.push((read, String::from_utf8_lossy(&element).into_owned())),
            }
        }
    }

    fn whole(text: &str) -> Vec<String> {
        let of = |piece| {
            elements(text, piece)
                .into_iter()
                .map(|(read, text)| {
                    assert_eq!(read, ReadElement::Whole, "{text}");
                    text
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(4096));
        of(3)
    }

    #[test]
    fn elements_are_those_of_the_array() {
        let node = r#"{"a": "]}\"", "b": [1, {}]}"#;
        assert_eq!(whole(&format!("[{node},\n {node} ]")), [node, node]);
        assert_eq!(
            whole(&format!(
                "{{\"graph\": [{node}], \"x\": {{\"y\": [1]}}, \"z\": 3}}"
            )),
            [node]
        );
        assert_eq!(
            whole(r#"[1, "two" ,null,[]]"#),
            ["1", "\"two\"", "null", "[]"]
        );
        assert!(whole("[]").is_empty() && whole(" \n").is_empty() && whole("").is_empty());
    }

    #[test]
    fn what_is_no_array_and_what_was_cut_is_told() {
        let one = |text: &str| elements(text, 4096).pop().expect("something");
        assert_eq!(
            one("[{\"a\": 1"),
            (ReadElement::Cut, "{\"a\": 1".to_owned())
        );
        assert_eq!(one("no JSON"), (ReadElement::Stray, "no JSON".to_owned()));
        assert_eq!(one("[1] more"), (ReadElement::Stray, "more".to_owned()));
        let long = format!("[\"{}\", 7]", "x".repeat(2 * MAX_ELEMENT_BYTES));
        let found = elements(&long, 4096);
        assert_eq!(found[0].0, ReadElement::Overlong);
        assert_eq!(found[1], (ReadElement::Whole, "7".to_owned()));
    }
}
