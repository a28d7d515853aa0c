//! The oracle: compares what a server believes with what is known to be so, and names the differences.

pub mod message_check;
