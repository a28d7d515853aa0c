//! Reports: a run, told to people.
//!
//! [`timeline`] draws a small run as text; [`numbers`] are written as people read them. Nothing
//! here judges: what diverged is what [`crate::oracle`] found.

pub mod timeline;

pub use timeline::Timeline;
