//! A client that may misbehave: it writes any bytes in any pieces, reads when it likes, and waits
//! for nothing for ever.
//!
//! [`crate::tracking::transport::Connection`] is the client that behaves.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::tracking::wire::{self, DeviceInfo, MAX_FRAME_BYTES, Response};
use crate::tracking::{Layout, Message, MessageKind};

/// How long to look for bytes that should not come.
const QUIET: Duration = Duration::from_millis(30);

/// One connection to the server under test, as one process.
#[derive(Debug)]
pub(super) struct Session {
    stream: UnixStream,
    pub(crate) layout: Layout,
    /// The process that its messages name.
    pub(crate) pid: i32,
}

impl Session {
    /// Connects, and says hello where the layout has one. No wait on this connection takes longer
    /// than `patience`.
    pub(crate) fn open(
        path: &Path,
        layout: Layout,
        pid: i32,
        patience: Duration,
    ) -> io::Result<Session> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut session = Session {
            stream,
            layout,
            pid,
        };
        if layout == Layout::Extended {
            session.write(&wire::encode_hello(layout))?;
        }
        Ok(session)
    }

    /// The bytes of messages.
    pub(crate) fn encode(&self, messages: &[Message]) -> Vec<u8> {
        encode(self.layout, messages)
    }

    /// Hands all bytes to the kernel, in one piece where that takes them so.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// As many of the bytes as there is room for now.
    pub(crate) fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let written = self.stream.write(bytes);
        self.stream.set_nonblocking(false)?;
        written
    }

    /// Asks for the totals of a device.
    pub(crate) fn query(&mut self, device: i32) -> io::Result<Response> {
        let query = self.request(MessageKind::Query, device);
        self.write(&query)?;
        self.response()
    }

    /// Two queries in one write, the first thing that a connection says: a server that finds out
    /// the layout from the content then knows it at once. What the second is answered.
    pub(crate) fn greet(&mut self, device: i32) -> io::Result<Response> {
        let queries = self.request(MessageKind::Query, device).repeat(2);
        self.write(&queries)?;
        read_answers(&mut self.stream, self.layout, 2, wire::decode_response)
    }

    /// Reads an answer to a query.
    pub(crate) fn response(&mut self) -> io::Result<Response> {
        read_answers(&mut self.stream, self.layout, 1, wire::decode_response)
    }

    /// Asks for the properties of a device.
    pub(crate) fn device_info(&mut self, device: i32) -> io::Result<DeviceInfo> {
        let query = self.request(MessageKind::DeviceInfoQuery, device);
        self.write(&query)?;
        read_answers(&mut self.stream, self.layout, 1, wire::decode_device_info)
    }

    /// The bytes of a message that only asks.
    pub(crate) fn request(&self, kind: MessageKind, device: i32) -> Vec<u8> {
        request(self.layout, kind, device, self.pid)
    }

    /// How many bytes come although nothing was asked: 0 where the connection ends or stays quiet.
    pub(crate) fn unasked_bytes(&mut self) -> io::Result<usize> {
        let patience = self.stream.read_timeout()?;
        self.stream.set_read_timeout(Some(QUIET))?;
        let read = self.stream.read(&mut [0; MAX_FRAME_BYTES]);
        self.stream.set_read_timeout(patience)?;
        Ok(read.unwrap_or(0))
    }

    /// How many bytes have come that were not read.
    pub(crate) fn unread_bytes(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.stream).unwrap_or(0)
    }

    /// Ends what it says, and reads until the server has done the same, or for as long as it is
    /// patient.
    pub(crate) fn end(self) {
        // A server that has closed already has said enough.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let mut rest = [0; 4096];
        while (&self.stream).read(&mut rest).is_ok_and(|count| count > 0) {}
    }
}

/// The bytes of messages in a layout.
pub(super) fn encode(layout: Layout, messages: &[Message]) -> Vec<u8> {
    let frames = messages.iter().map(|m| wire::encode(layout, m));
    frames.flat_map(|frame| frame.as_bytes().to_vec()).collect()
}

/// The bytes of a message that only asks.
pub(super) fn request(layout: Layout, kind: MessageKind, device: i32, pid: i32) -> Vec<u8> {
    encode(layout, &[Message::bare(kind, device, pid)])
}

/// Reads so many answers that are due and decodes the last; errors say what came instead.
pub(super) fn read_answers<T>(
    stream: &mut impl Read,
    layout: Layout,
    count: usize,
    decode: fn(Layout, &[u8]) -> Option<T>,
) -> io::Result<T> {
    let frame_bytes = layout.frame_bytes();
    let mut frames = vec![0; frame_bytes * count];
    let mut got = 0;
    while got < frames.len() {
        let came = |got| came(got, layout, count);
        match stream.read(&mut frames[got..]) {
            Ok(0) => {
                let came = came(got);
                return Err(io::Error::other(format!(
                    "the server closed the connection: {came}"
                )));
            }
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let came = came(got);
                return Err(io::Error::other(format!("no answer in time: {came}")));
            }
            Err(error) => return Err(error),
        }
    }
    let last = &frames[frames.len() - frame_bytes..];
    decode(layout, last)
        .ok_or_else(|| io::Error::other(format!("what came is of type {}, no answer", last[0])))
}

/// What came where `due` answers of `layout` were due.
pub(super) fn came(bytes: usize, layout: Layout, due: usize) -> String {
    let frame_bytes = layout.frame_bytes();
    let due = match due {
        1 => format!("an answer of {frame_bytes} bytes was due"),
        due => format!("{due} answers of {frame_bytes} bytes were due"),
    };
    let other = Layout::from_frame_bytes(bytes).filter(|other| *other != layout);
    let hint = other.map(|other| format!(", as many as an answer of the {other} layout has"));
    let hint = hint.unwrap_or_default();
    let came = match bytes {
        0 => "nothing came".to_owned(),
        bytes => format!("{bytes} bytes came"),
    };
    format!("{came} where {due}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_layout_is_told_by_its_length() {
        let mut stream = io::Cursor::new([4; 112]);
        let error = read_answers(&mut stream, Layout::V72, 2, wire::decode_response)
            .expect_err("too short");
        assert_eq!(
            error.to_string(),
            "the server closed the connection: 112 bytes came where 2 answers of 72 bytes were due, as many as an answer of the 112 layout has"
        );
        assert_eq!(
            came(0, Layout::V144, 1),
            "nothing came where an answer of 144 bytes was due"
        );
    }
}
