//! The page: what heisenbed wrote or imported, as one HTML file that needs nothing beside it.
//!
//! A page has a [`PagePart`](picture::PagePart) for each file. [`run`] makes the pictures of a run
//! whose truth is known, [`messages`] those of a record of messages, [`records`] those of what an
//! allocator wrote down; [`html`] writes parts down, with the script and the styles in `assets/`.
//! Who reads which file is `crate::cli::report`'s. Nothing here judges: what diverged is the
//! oracle's to say.
//!
//! Invariants: the same parts give the same bytes. No text of a part becomes markup. The page loads
//! nothing and sends nothing, which its content policy says too. Memory is bounded, whatever the
//! length of a record: what is left out is counted, and said.

pub(crate) mod actions;
mod campaign;
mod columns;
mod events;
mod flame;
mod html;
mod kinds;
mod memory;
pub(crate) mod messages;
pub(crate) mod picture;
pub(crate) mod records;
pub(crate) mod run;
mod sections;
pub(crate) mod text;
mod totals;

pub(crate) use html::page;

/// A file whose head says so is a page of this program's, which may be replaced by another.
pub(crate) const MARK: &str = "<meta name=\"generator\" content=\"heisenbed ";
