//! Reads graph captures of TT-Metal: a JSON array of nodes, of which some say that a buffer was
//! allocated or deallocated.
//!
//! `buffer_allocate` says address, size, type and device. `buffer_deallocate` says no address: it
//! is connected to the node of its buffer, as the allocation is. Values are texts. A capture begins
//! and ends in the middle of a program.
//!
//! What holds:
//! - Every node is counted once: as parsed, as known-other (nodes of other types, deallocations of
//!   what was allocated before the capture) or as unrecognised.
//! - Memory does not grow with the length of a capture, but with the number of its buffers, up to
//!   [`MAX_BUFFERS`].

use std::io::{self, BufRead};

use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::accounting::{Accounting, LineClass, UnrecognisedReason};
use super::allocation::{AllocationEvent, AllocationRecord, AllocationSource, Buffer};
use super::generic::Scalar;
use super::json_elements::{JsonElements, ReadElement};
use super::lines::next_until_end;
use super::stacks::StackTable;
use crate::tracking::entry::BUFFER_TYPE_NAMES;

/// Buffers whose place is remembered at most.
pub(crate) const MAX_BUFFERS: usize = 1 << 22;

const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;

/// Types of nodes that say nothing of a buffer's life.
const OTHER_NODES: [&str; 9] = [
    "buffer",
    "tensor",
    "circular_buffer_allocate",
    "circular_buffer_deallocate_all",
    "function_start",
    "function_end",
    "capture_start",
    "capture_end",
    "error",
];

/// Iterates over the nodes of a capture that are about buffers.
pub(crate) struct GraphReader<R> {
    nodes: JsonElements<R>,
    accounting: Accounting,
    no_stacks: StackTable,
    node: Vec<u8>,
    /// Where the buffer of a node is.
    places: FxHashMap<u64, Buffer>,
    ended: bool,
}

/// A node.
#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow)]
    node_type: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    params: Params<'a>,
    #[serde(borrow, default)]
    connections: Vec<Scalar<'a>>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    address: Option<Scalar<'a>>,
    #[serde(borrow)]
    size: Option<Scalar<'a>>,
    #[serde(borrow, rename = "type")]
    memory: Option<Scalar<'a>>,
    #[serde(borrow)]
    device_id: Option<Scalar<'a>>,
}

impl<R: BufRead> GraphReader<R> {
    /// Reads from `source`, which is at the start of a capture.
    pub(crate) fn new(source: R) -> GraphReader<R> {
        GraphReader {
            nodes: JsonElements::new(source),
            accounting: Accounting::default(),
            no_stacks: StackTable::default(),
            node: Vec::new(),
            places: FxHashMap::default(),
            ended: false,
        }
    }

    fn next_record(&mut self) -> io::Result<Option<AllocationRecord>> {
        loop {
            let read = match self.nodes.next(&mut self.node)? {
                ReadElement::End => return Ok(None),
                ReadElement::Whole => self.read_node(),
                ReadElement::Overlong => Err(UnrecognisedReason::Overlong),
                ReadElement::Cut => Err(UnrecognisedReason::CutBlock),
                ReadElement::Stray => Err(NO_FORM),
            };
            let (form, class, what) = match read {
                Ok((form, Some(what))) => (form, LineClass::Parsed, Some(what)),
                Ok((form, None)) => (form, LineClass::KnownOther, None),
                Err(reason) => ("unrecognised", LineClass::Unrecognised(reason), None),
            };
            self.accounting.count(form, class, &self.node);
            if let Some(what) = what {
                return Ok(Some(AllocationRecord {
                    position: self.accounting.lines,
                    at_ns: None,
                    thread: None,
                    what,
                }));
            }
        }
    }

    fn read_node(&mut self) -> Result<(&'static str, Option<AllocationEvent>), UnrecognisedReason> {
        let text = std::str::from_utf8(&self.node).map_err(|_| NO_FORM)?;
        let node: Node<'_> = serde_json::from_str(text).map_err(|_| NO_FORM)?;
        let node_type = node.node_type.as_ref().and_then(Scalar::text);
        let id = node.connections.first().and_then(Scalar::number);
        let params = &node.params;
        match node_type.ok_or(NO_FORM)? {
            "buffer_allocate" => {
                let buffer = params.buffer()?;
                if let Some(id) = id.filter(|_| self.places.len() < MAX_BUFFERS) {
                    self.places.insert(id, buffer);
                }
                Ok(("buffer_allocate", Some(AllocationEvent::Allocated(buffer))))
            }
            "buffer_deallocate" => {
                let known = id.and_then(|id| self.places.get(&id)).copied();
                let buffer = match (&params.address, known) {
                    (Some(_), known) => Buffer {
                        // Later captures say the address, and not always the size.
                        size_bytes: number(&params.size).or(known.and_then(|at| at.size_bytes)),
                        ..params.place(known.as_ref())?
                    },
                    (None, Some(known)) => Buffer {
                        size_bytes: number(&params.size).or(known.size_bytes),
                        ..known
                    },
                    (None, None) => return Ok(("other-earlier", None)),
                };
                Ok(("buffer_deallocate", Some(AllocationEvent::Released(buffer))))
            }
            other => match OTHER_NODES.contains(&other) {
                true => Ok(("other-node", None)),
                false => Err(NO_FORM),
            },
        }
    }
}

impl Params<'_> {
    fn buffer(&self) -> Result<Buffer, UnrecognisedReason> {
        Ok(Buffer {
            size_bytes: Some(number(&self.size).ok_or(NO_FORM)?),
            ..self.place(None)?
        })
    }

    /// Where a buffer is. What is not said is as its allocation says.
    fn place(&self, known: Option<&Buffer>) -> Result<Buffer, UnrecognisedReason> {
        let device = match &self.device_id {
            None => known.map_or(0, |known| known.device),
            Some(value) => {
                let number = value.number().ok_or(NO_FORM)?;
                i32::try_from(number).map_err(|_| UnrecognisedReason::NumberOutOfRange)?
            }
        };
        let buffer_type = match self.memory.as_ref().map(Scalar::text) {
            None => known.map_or(0, |known| known.buffer_type),
            Some(name) => {
                let name = name.ok_or(NO_FORM)?;
                let number = BUFFER_TYPE_NAMES
                    .iter()
                    .position(|known| known.eq_ignore_ascii_case(name));
                number.ok_or(NO_FORM)? as u8
            }
        };
        Ok(Buffer {
            device,
            buffer_type,
            address: number(&self.address).ok_or(NO_FORM)?,
            ..Buffer::default()
        })
    }
}

fn number(value: &Option<Scalar<'_>>) -> Option<u64> {
    value.as_ref().and_then(Scalar::number)
}

impl<R: BufRead> Iterator for GraphReader<R> {
    type Item = io::Result<AllocationRecord>;

    fn next(&mut self) -> Option<io::Result<AllocationRecord>> {
        next_until_end(self, |reader| &mut reader.ended, Self::next_record)
    }
}

impl<R: BufRead> AllocationSource for GraphReader<R> {
    fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    fn stacks(&self) -> &StackTable {
        &self.no_stacks
    }
}
