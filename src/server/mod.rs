//! The tracking server: a pure registry that reconstructs what is live from messages, and a listener
//! that feeds it from Unix sockets.

pub mod registry;
