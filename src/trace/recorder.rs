//! The recorder: takes events from running threads at a few nanoseconds each and gets them into a
//! trace file.
//!
//! Each stream (a thread, or the server) encodes into a buffer of its own; full buffers go to one
//! writer thread, which compresses and writes them. Nothing is shared on the hot path. The way to
//! the writer holds a bounded number of blocks: when the disk is slower than the run, the run waits
//! and nothing is lost. When writing fails (a full disk), the writer remembers why,
//! [`Recorder::failed`] turns true so that the run can stop, and [`Recorder::finish`] returns the
//! error.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::codec::{Encoder, MAX_EVENT_BYTES};
use super::event::Event;
use super::file::{BLOCK_BYTES, BlockKind, End, Header, RunHeader, TraceWriter};
use crate::scenario::objects::Objects;

/// Blocks that may be under way to the writer.
const QUEUE_BLOCKS: usize = 32;
/// A buffer that is not full is still written when it is this old and [`StreamRecorder::tick`] is
/// called.
const FLUSH_AFTER: Duration = Duration::from_millis(250);

/// A block under way to the writer.
struct Block {
    stream: u16,
    number: u32,
    events: u32,
    raw: Vec<u8>,
}

/// The writing end of a trace.
#[derive(Debug)]
pub struct Recorder {
    to_writer: Sender<Block>,
    empties: Receiver<Vec<u8>>,
    failed: Arc<AtomicBool>,
    writer: JoinHandle<(TraceWriter, io::Result<()>)>,
    objects: Objects,
}

/// What has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the file.
    pub(crate) bytes: u64,
}

impl Recorder {
    /// Starts a trace in `file`.
    pub fn start(file: File, header: RunHeader, objects: Objects) -> io::Result<Recorder> {
        let mut trace = TraceWriter::create(file, &Header::Run(Box::new(header)))?;
        let (to_writer, blocks) = bounded::<Block>(QUEUE_BLOCKS);
        let (give_back, empties) = bounded(QUEUE_BLOCKS);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let writer = std::thread::Builder::new()
            .name("trace writer".to_owned())
            .spawn(move || {
                let mut result = Ok(());
                for block in blocks {
                    if result.is_ok() {
                        result = trace.block(
                            BlockKind::Events,
                            block.stream,
                            block.number,
                            block.events,
                            &block.raw,
                        );
                        if result.is_err() {
                            flag.store(true, Ordering::Relaxed);
                        }
                    }
                    let mut raw = block.raw;
                    raw.clear();
                    let _ = give_back.try_send(raw);
                }
                (trace, result)
            })?;
        Ok(Recorder {
            to_writer,
            empties,
            failed,
            writer,
            objects,
        })
    }

    /// A recorder for one stream. Each stream number is used once.
    pub fn stream(&self, stream: u16) -> StreamRecorder {
        StreamRecorder {
            encoder: Encoder::new(self.objects),
            raw: Vec::with_capacity(BLOCK_BYTES),
            events: 0,
            number: 0,
            stream,
            flushed: Instant::now(),
            to_writer: self.to_writer.clone(),
            empties: self.empties.clone(),
        }
    }

    /// Whether writing has failed; what is recorded from then on is lost, so the run should stop.
    pub(crate) fn failed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failed)
    }

    /// Waits until everything is written, and ends the trace. Call it when every stream is dropped.
    pub fn finish(self, end: &End) -> io::Result<Written> {
        drop(self.to_writer);
        let (mut trace, result) = self.writer.join().expect("the trace writer does not panic");
        result?;
        trace.end(end)?;
        Ok(Written {
            bytes: trace.written_bytes(),
        })
    }
}

/// Takes the events of one stream. Dropping it writes what it holds.
#[derive(Debug)]
pub struct StreamRecorder {
    encoder: Encoder,
    raw: Vec<u8>,
    events: u32,
    number: u32,
    stream: u16,
    flushed: Instant,
    to_writer: Sender<Block>,
    empties: Receiver<Vec<u8>>,
}

impl StreamRecorder {
    /// Records one event.
    #[inline]
    pub fn record(&mut self, event: &Event) {
        self.encoder.encode(event, &mut self.raw);
        self.events += 1;
        if self.raw.len() > BLOCK_BYTES - MAX_EVENT_BYTES {
            self.flush();
        }
    }

    /// Writes a buffer that has waited long, so that a killed run leaves what is older than that.
    pub(crate) fn tick(&mut self) {
        if self.events > 0 && self.flushed.elapsed() > FLUSH_AFTER {
            self.flush();
        }
    }

    #[cold]
    fn flush(&mut self) {
        if self.events == 0 {
            return;
        }
        let empty = self
            .empties
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BLOCK_BYTES));
        let raw = std::mem::replace(&mut self.raw, empty);
        let block = Block {
            stream: self.stream,
            number: self.number,
            events: self.events,
            raw,
        };
        self.to_writer
            .send(block)
            .expect("the writer takes blocks until every stream is gone");
        self.number += 1;
        self.events = 0;
        self.flushed = Instant::now();
    }
}

impl Drop for StreamRecorder {
    fn drop(&mut self) {
        self.flush();
    }
}
