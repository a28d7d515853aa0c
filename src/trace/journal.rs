//! Journals: what a tracking server took in, in its order, so that a server that starts again has
//! the same table.
//!
//! A journal is a list of [`JournalRecord`]s; played into an empty registry of the header's
//! semantics and limits they give the table that the server had. Only what can change the table is
//! in it, and of a message only what a registry looks at: no timestamps.
//!
//! Numbers are stored as the distance to the last message's. A [`JournalRecord::Resumed`] starts
//! these anew, so that who goes on with a journal need not know where its writer was.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use super::file::{Header, JournalHeader, TraceFile, TraceWriter};
use super::observation::{Observation, Observed};
use super::records::{RecordReader, RecordWriter, byte, get, put};
use crate::device::Memory;
use crate::tracking::message::Extension;
use crate::tracking::{Message, MessageKind};

/// One thing that a server took in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JournalRecord {
    /// The time has come to so many ns since the journal began.
    Time(u64),
    /// A client connected.
    Opened(u64),
    /// A client is gone.
    Closed(u64),
    /// A message.
    Message(u64, Message),
    /// Whatever waited for an earlier sequence number took effect.
    Flushed,
    /// What the dead process with this pid had left is dropped; so many buffers follow.
    Swept(i32, u64),
    /// One of them, as the release that it amounts to.
    Dropped(Message),
    /// The server started again: every client is gone.
    Resumed,
}

mod tag {
    pub(crate) const TIME: u8 = 0;
    pub(crate) const OPENED: u8 = 1;
    pub(crate) const CLOSED: u8 = 2;
    pub(crate) const FLUSHED: u8 = 3;
    pub(crate) const SWEPT: u8 = 4;
    pub(crate) const RESUMED: u8 = 5;
    /// … plus the message's kind.
    pub(crate) const MESSAGE: u8 = 16;
    /// … plus the message's kind.
    pub(crate) const DROPPED: u8 = 32;
}

/// Which fields of a message follow: those that are not as in the last one.
mod field {
    pub(crate) const CLIENT: u8 = 1;
    pub(crate) const DEVICE: u8 = 2;
    pub(crate) const PID: u8 = 4;
    pub(crate) const BUFFER_TYPE: u8 = 8;
    pub(crate) const SIZE: u8 = 16;
    pub(crate) const EXTENSION: u8 = 32;
}

/// What both directions remember.
#[derive(Clone, Debug)]
struct Last {
    client: u64,
    at_ns: u64,
    message: Message,
    extension: Extension,
}

impl Default for Last {
    fn default() -> Last {
        Last {
            client: 0,
            at_ns: 0,
            message: Message {
                kind: MessageKind::Alloc,
                device: 0,
                size_bytes: 0,
                buffer_type: 0,
                pid: 0,
                address: 0,
                timestamp_ns: 0,
                extension: None,
            },
            extension: Extension {
                memory: Memory::Dram,
                sequence: 0,
                generation: 0,
                thread: 0,
            },
        }
    }
}

/// Writes a journal.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    records: RecordWriter,
    last: Last,
}

impl JournalWriter {
    /// Begins a journal in `file`.
    pub(crate) fn create(file: File, header: JournalHeader) -> io::Result<JournalWriter> {
        Ok(JournalWriter {
            records: RecordWriter::create(file, &Header::Journal(header))?,
            last: Last::default(),
        })
    }

    /// Goes on with `journal`, whose sound part was read: cuts off what is behind that, which is
    /// the end or a block that never became whole.
    pub(crate) fn resume(mut file: File, journal: &TraceFile) -> io::Result<JournalWriter> {
        let sound_bytes = journal.sound_bytes();
        file.set_len(sound_bytes)?;
        file.seek(SeekFrom::Start(sound_bytes))?;
        let blocks = journal.blocks(0) as u32;
        let mut writer = JournalWriter {
            records: RecordWriter::after(TraceWriter::resume(file, sound_bytes)?, blocks),
            last: Last::default(),
        };
        writer.record(&JournalRecord::Resumed)?;
        Ok(writer)
    }

    /// Appends a record; of messages those that can change a table are to be given only.
    pub(crate) fn record(&mut self, record: &JournalRecord) -> io::Result<()> {
        match record {
            JournalRecord::Time(at_ns) => {
                let later_ns = at_ns.saturating_sub(self.last.at_ns);
                self.last.at_ns = self.last.at_ns.max(*at_ns);
                self.put(tag::TIME, later_ns)
            }
            JournalRecord::Opened(client) => self.put(tag::OPENED, *client),
            JournalRecord::Closed(client) => self.put(tag::CLOSED, *client),
            JournalRecord::Message(client, message) => self.message(*client, message),
            JournalRecord::Flushed => self.records.record(|out| out.push(tag::FLUSHED)),
            JournalRecord::Swept(pid, buffers) => self.records.record(|out| {
                out.push(tag::SWEPT);
                put(out, u64::from(pid.cast_unsigned()));
                put(out, *buffers);
            }),
            JournalRecord::Dropped(message) => {
                let last = &mut self.last;
                let client = last.client;
                self.records
                    .record(|out| put_message(out, tag::DROPPED, last, client, message))
            }
            JournalRecord::Resumed => {
                self.last = Last::default();
                self.records.record(|out| out.push(tag::RESUMED))
            }
        }
    }

    /// As [`JournalWriter::record`] of a message, without a copy of it.
    #[inline]
    pub(crate) fn message(&mut self, client: u64, message: &Message) -> io::Result<()> {
        let last = &mut self.last;
        self.records
            .record(|out| put_message(out, tag::MESSAGE, last, client, message))
    }

    /// Whether records wait for their block to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.records.has_unwritten()
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.records.flush()
    }

    /// Writes what waits and the end.
    pub(crate) fn end(self) -> io::Result<u64> {
        self.records.end()
    }

    fn put(&mut self, tag: u8, number: u64) -> io::Result<()> {
        self.records.record(|out| {
            out.push(tag);
            put(out, number);
        })
    }
}

#[inline]
fn put_message(out: &mut Vec<u8>, tag: u8, last: &mut Last, client: u64, message: &Message) {
    let before = &last.message;
    let mut fields = 0;
    let mut set = |field, differs: bool| fields |= if differs { field } else { 0 };
    set(field::CLIENT, client != last.client);
    set(field::DEVICE, message.device != before.device);
    set(field::PID, message.pid != before.pid);
    set(
        field::BUFFER_TYPE,
        message.buffer_type != before.buffer_type,
    );
    set(field::SIZE, message.size_bytes != before.size_bytes);
    set(field::EXTENSION, message.extension.is_some());
    out.push(tag + message.kind as u8);
    out.push(fields);
    put(out, zigzag(message.address.wrapping_sub(before.address)));
    if fields & field::CLIENT != 0 {
        put(out, client);
    }
    if fields & field::DEVICE != 0 {
        put(out, u64::from(message.device.cast_unsigned()));
    }
    if fields & field::PID != 0 {
        put(out, u64::from(message.pid.cast_unsigned()));
    }
    if fields & field::BUFFER_TYPE != 0 {
        out.push(message.buffer_type);
    }
    if fields & field::SIZE != 0 {
        put(out, message.size_bytes);
    }
    if let Some(extension) = message.extension {
        out.push(extension.memory as u8);
        put(
            out,
            zigzag(extension.sequence.wrapping_sub(last.extension.sequence)),
        );
        put(
            out,
            zigzag(extension.generation.wrapping_sub(last.extension.generation)),
        );
        put(out, u64::from(extension.thread));
        last.extension = extension;
    }
    last.client = client;
    last.message = Message {
        timestamp_ns: 0,
        ..message.clone()
    };
}

fn get_message(bytes: &mut &[u8], last: &mut Last, kind: MessageKind) -> Option<Message> {
    let fields = byte(bytes)?;
    let mut message = last.message.clone();
    message.kind = kind;
    message.address = message.address.wrapping_add(unzigzag(get(bytes)?));
    if fields & field::CLIENT != 0 {
        last.client = get(bytes)?;
    }
    if fields & field::DEVICE != 0 {
        message.device = u32::try_from(get(bytes)?).ok()?.cast_signed();
    }
    if fields & field::PID != 0 {
        message.pid = u32::try_from(get(bytes)?).ok()?.cast_signed();
    }
    if fields & field::BUFFER_TYPE != 0 {
        message.buffer_type = byte(bytes)?;
    }
    if fields & field::SIZE != 0 {
        message.size_bytes = get(bytes)?;
    }
    message.extension = None;
    if fields & field::EXTENSION != 0 {
        last.extension = Extension {
            memory: Memory::from_index(byte(bytes)?)?,
            sequence: last.extension.sequence.wrapping_add(unzigzag(get(bytes)?)),
            generation: last
                .extension
                .generation
                .wrapping_add(unzigzag(get(bytes)?)),
            thread: u32::try_from(get(bytes)?).ok()?,
        };
        message.extension = Some(last.extension);
    }
    last.message = message.clone();
    Some(message)
}

fn zigzag(distance: u64) -> u64 {
    distance << 1 ^ (distance.cast_signed() >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

/// Reads a journal. Where it is damaged, it ends.
#[derive(Debug)]
pub(crate) struct JournalReader<'a> {
    records: RecordReader<'a>,
    last: Last,
}

impl<'a> JournalReader<'a> {
    /// Starts at the beginning of `trace`, which is a journal.
    pub(crate) fn new(trace: &'a TraceFile) -> JournalReader<'a> {
        JournalReader {
            records: RecordReader::new(trace),
            last: Last::default(),
        }
    }

    /// What is wrong with the part that was read, or with the file as a whole.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.records.damage()
    }

    /// What is wrong with the part that was read.
    pub(crate) fn damage_inside(&self) -> Option<&str> {
        self.records.damage_inside()
    }
}

impl Iterator for JournalReader<'_> {
    type Item = JournalRecord;

    fn next(&mut self) -> Option<JournalRecord> {
        let last = &mut self.last;
        self.records.next(|bytes| {
            let tag = byte(bytes)?;
            Some(match tag {
                tag::TIME => {
                    last.at_ns = last.at_ns.saturating_add(get(bytes)?);
                    JournalRecord::Time(last.at_ns)
                }
                tag::OPENED => JournalRecord::Opened(get(bytes)?),
                tag::CLOSED => JournalRecord::Closed(get(bytes)?),
                tag::FLUSHED => JournalRecord::Flushed,
                tag::SWEPT => {
                    let pid = u32::try_from(get(bytes)?).ok()?.cast_signed();
                    JournalRecord::Swept(pid, get(bytes)?)
                }
                tag::RESUMED => {
                    *last = Last::default();
                    JournalRecord::Resumed
                }
                dropped if dropped > tag::DROPPED => {
                    let kind = MessageKind::from_byte(dropped - tag::DROPPED)?;
                    JournalRecord::Dropped(get_message(bytes, last, kind)?)
                }
                _ => {
                    let kind = MessageKind::from_byte(tag.checked_sub(tag::MESSAGE)?)?;
                    let message = get_message(bytes, last, kind)?;
                    JournalRecord::Message(last.client, message)
                }
            })
        })
    }
}

/// Hands what a journal shows of messages to `sink`; positions count messages, from 1. Returns what
/// is wrong with the file, if anything.
pub(crate) fn observations(trace: &TraceFile, sink: &mut dyn FnMut(Observation)) -> Option<String> {
    let mut reader = JournalReader::new(trace);
    let (mut position, mut at_ns) = (0, 0);
    // Numbers of clients begin anew with each start of the server.
    let (mut open, mut next) = (std::collections::BTreeMap::new(), 0u32);
    for record in reader.by_ref() {
        let mut see = |position: u64, conn, what| {
            sink(Observation {
                position: position.max(1),
                at_ns: Some(at_ns),
                conn,
                what,
            });
        };
        match record {
            JournalRecord::Time(now) => at_ns = now,
            JournalRecord::Opened(client) => {
                open.insert(client, next);
                see(position, Some(next), Observed::Opened);
                next += 1;
            }
            JournalRecord::Closed(client) => {
                if let Some(conn) = open.remove(&client) {
                    see(position, Some(conn), Observed::Closed);
                }
            }
            JournalRecord::Message(client, message) => {
                position += 1;
                let what = Observed::Message {
                    message,
                    complete: true,
                    server_answer: None,
                };
                see(position, open.get(&client).copied(), what);
            }
            JournalRecord::Swept(pid, buffers) => {
                let buffers = Some(buffers);
                see(position, None, Observed::Swept { pid, buffers });
            }
            JournalRecord::Flushed | JournalRecord::Dropped(_) => {}
            JournalRecord::Resumed => {
                for conn in std::mem::take(&mut open).into_values() {
                    see(position, Some(conn), Observed::Closed);
                }
                at_ns = 0;
            }
        }
    }
    reader.damage().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::{Limits, Semantics};

    fn header() -> JournalHeader {
        JournalHeader {
            version: "0".to_owned(),
            semantics: Semantics::Refcount,
            limits: Limits::default(),
            started_unix_ns: 0,
        }
    }

    fn message() -> impl Strategy<Value = JournalRecord> {
        let extension = (0..4u8, any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(memory, sequence, generation, thread)| Extension {
                memory: Memory::from_index(memory).expect("there are four"),
                sequence,
                generation,
                thread,
            },
        );
        (
            (0..12usize, any::<i32>(), any::<u64>(), any::<u8>()),
            (
                any::<i32>(),
                any::<u64>(),
                0..3u64,
                prop::option::of(extension),
            ),
        )
            .prop_map(
                |((kind, device, size_bytes, buffer_type), (pid, address, client, extension))| {
                    JournalRecord::Message(
                        client,
                        Message {
                            kind: MessageKind::ALL[kind],
                            device,
                            size_bytes,
                            buffer_type,
                            pid,
                            address,
                            timestamp_ns: 0,
                            extension,
                        },
                    )
                },
            )
    }

    fn record() -> impl Strategy<Value = JournalRecord> {
        prop_oneof![
            6 => message(),
            1 => any::<u64>().prop_map(JournalRecord::Opened),
            1 => any::<u64>().prop_map(JournalRecord::Closed),
            1 => (any::<i32>(), any::<u64>()).prop_map(|(pid, buffers)| JournalRecord::Swept(pid, buffers)),
            1 => message().prop_map(|record| match record {
                JournalRecord::Message(_, message) => JournalRecord::Dropped(message),
                other => other,
            }),
            1 => Just(JournalRecord::Flushed),
            1 => Just(JournalRecord::Resumed),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(records in prop::collection::vec(record(), 0..200)) {
            let file = tempfile::tempfile().expect("a temporary file");
            let copy = file.try_clone().expect("a second handle");
            let mut writer = JournalWriter::create(copy, header()).expect("writable");
            for record in &records {
                writer.record(record).expect("writable");
            }
            writer.end().expect("writable");
            let trace = TraceFile::from_file(file, "journal".as_ref()).expect("readable");
            let mut reader = JournalReader::new(&trace);
            let read: Vec<JournalRecord> = reader.by_ref().collect();
            prop_assert_eq!(read, records);
            prop_assert_eq!(reader.damage(), None);
        }
    }
}
