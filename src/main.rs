//! The `heisenbed` binary: parse and dispatch, nothing else.

fn main() {}
