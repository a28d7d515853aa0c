//! Traces: what one run did, and what is read into one from elsewhere.

pub mod import;
