//! Reports: a run, explained to people.
//!
//! [`timeline`] draws a small run as text, [`page`] any record as a page with pictures. Nothing
//! here judges: what diverged is what [`crate::oracle`] found.

pub(crate) mod page;
pub(crate) mod timeline;

pub use timeline::Timeline;
