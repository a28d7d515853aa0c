//! Reports: a run, explained to people.
//!
//! [`timeline`] draws a small run as text. Nothing here judges: what diverged is what
//! [`crate::oracle`] found.

pub(crate) mod timeline;

pub use timeline::Timeline;
