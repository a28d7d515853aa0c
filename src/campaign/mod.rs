//! The campaign: a night of looking for what nobody knows yet, on one machine or on many, and what
//! is left of it in the morning.
//!
//! The work is a sequence of numbered *units* ([`plan`]): a unit's number and the campaign's
//! [`Parameters`] say all that it does, so machines that share nothing share the work by taking
//! every n-th number ([`shard`]). What a unit was like is one line of a [`journal`]; summaries,
//! reproducers and reports follow from the set of those lines alone ([`tally`]), whatever order
//! they were written in and on however many machines: that is why a night can be killed and
//! resumed, and why outputs [`merge`].
//!
//! Units look where nothing is known to be wrong ([`target`]); what diverges there is minimised and
//! told apart by its [`cause`]. That the night can see at all is shown by [`canary`] runs: planted
//! defects that it must find again from nothing. Where it does not, its silence says nothing and it
//! is marked *blind*.
//!
//! [`proof`] is the other work that is divided among machines: one search of one scenario.

pub(crate) mod canary;
pub(crate) mod cause;
pub(crate) mod folder;
pub(crate) mod fuzz;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod junit;
mod markdown;
pub(crate) mod merge;
pub(crate) mod plan;
mod program_canary;
pub(crate) mod programs;
pub(crate) mod proof;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod shard;
pub(crate) mod summary;
pub(crate) mod tally;
pub(crate) mod target;
pub(crate) mod work;

use std::path::Path;

use thiserror::Error;

use crate::corpus::ReproducerError;
use crate::engine::controlled::machine::SetupError;
use crate::scenario::{ScenarioError, TomlFileError};

pub(crate) use plan::Parameters;
pub(crate) use shard::Shard;
pub(crate) use summary::CampaignSummary;

/// Why a campaign cannot be run or merged.
#[derive(Debug, Error)]
pub(crate) enum CampaignError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {problem}")]
    File {
        /// The file, with the line where there is one.
        path: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Another process works in this folder.
    #[error("{path}: another campaign is running in this folder; give this one another --out")]
    Busy {
        /// The folder.
        path: String,
    },
    /// The folder holds another campaign.
    #[error(
        "{path}: it holds a campaign with other parameters ({differs}); give the same ones to resume it, or another --out"
    )]
    Other {
        /// The folder.
        path: String,
        /// What differs.
        differs: String,
    },
    /// A file of TOML says nothing.
    #[error(transparent)]
    Toml(#[from] TomlFileError),
    /// A scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A scenario cannot be explored.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A reproducer is wrong.
    #[error(transparent)]
    Reproducer(#[from] ReproducerError),
    /// The report for CI pages cannot be put into XML.
    #[error("junit.xml: {0}")]
    Junit(#[from] quick_junit::SerializeError),
    /// There is nothing to do.
    #[error("{0}")]
    Nothing(String),
}

impl CampaignError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CampaignError {
        let path = path.display().to_string();
        move |source| CampaignError::Io { path, source }
    }
}
