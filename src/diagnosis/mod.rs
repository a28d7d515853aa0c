//! Diagnosis: what went wrong, judged by messages alone, with the places in the record that show
//! it.
//!
//! It is for records without truth: logs, captures and journals. Of a run it reads what the server
//! saw and nothing more. It ranks causes and proves none: where two causes leave the same evidence
//! it says so, and what to record to tell them apart.
//!
//! In three steps. [`Diagnoser`] reads observations and hands each message to its address
//! (`addresses`). What is seen there is noted in the `ledger`: counts with the first sightings
//! (`facts`), and which lives are open in which process (`clients`). Each cause has a model of the
//! evidence that it leaves and of what would speak against it, and weighs the counts by it
//! (`causes`).
//!
//! Before that it is asked whether the record can be what one server got, whole and in order
//! (`coherence`): a log that was filtered, joined or turned round has causes that nobody's traffic
//! had, and none is named.
//!
//! What holds:
//! - A piece of evidence speaks for one cause in full, or for several in shares that sum up to one.
//!   A cause's score grows with how much there is and falls with how much of all evidence others
//!   explain. It is at most 1; [`CONFIDENT`] is where calibration found no wrong cause.
//! - One reading, in the order of the record. Memory is bounded by the addresses that are live at
//!   once, at most [`MAX_ADDRESSES`], plus the last [`SETTLED_WINDOW`] that are not.
//! - The same observations give the same diagnosis.
//! - What is live at the end is a leak only where the record shows that its clients have ended;
//!   else it is said and not judged.

mod address;
mod addresses;
mod arrivals;
mod beginnings;
mod causes;
mod clients;
mod coherence;
mod diagnoser;
mod facts;
mod gaps;
mod ledger;
mod numbers_seen;
mod outcome;
mod overlaps;
mod seen_message;
mod senders;
mod sightings;
mod sizes;
mod strays;
mod suspect;

pub use addresses::{MAX_ADDRESSES, SETTLED_WINDOW};
pub use diagnoser::Diagnoser;
pub use facts::Circumstances;
pub(crate) use outcome::KnownTruth;
pub use outcome::{CONFIDENT, Diagnosis, PROBABLE};
pub use sightings::{MAX_SIGHTINGS, Sighting};
pub use suspect::{Cause, Exhibit, Suspect};
