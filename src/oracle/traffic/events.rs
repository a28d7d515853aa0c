//! What a program did, as far as tracking is about it.

/// One thing that a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrafficEvent {
    /// The allocator handed out an address.
    Alloc {
        /// The thread.
        thread: u16,
        /// The device, as said.
        device: u32,
        /// The memory, as said.
        memory: u32,
        /// The address.
        address: u64,
        /// The size.
        size_bytes: u64,
    },
    /// It took one back.
    Free {
        /// The thread.
        thread: u16,
        /// The device, as said.
        device: u32,
        /// The memory, as said.
        memory: u32,
        /// The address.
        address: u64,
    },
    /// What it says is live in a memory.
    Total {
        /// The device, as said.
        device: u32,
        /// The memory, as said.
        memory: u32,
        /// How much.
        bytes: u64,
        /// All is over: nothing is on its way, and the server has taken all.
        at_rest: bool,
    },
    /// A connection was opened; they are numbered from 0 in this order.
    Opened,
    /// Bytes were sent.
    Sent {
        /// The thread.
        thread: u16,
        /// The connection.
        conn: u32,
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether the server takes them at once.
        at_once: bool,
    },
    /// The server takes the oldest bytes of a connection that it has not taken.
    Taken {
        /// The connection.
        conn: u32,
    },
    /// There was no room, and the sender did not wait.
    Dropped {
        /// The thread.
        thread: u16,
        /// The connection.
        conn: u32,
        /// What it wanted to send.
        bytes: Vec<u8>,
    },
    /// A connection to another path.
    Elsewhere {
        /// The path.
        path: String,
    },
}
