//! Files of TOML: scenarios, and the reproducers that hold one.

use std::path::Path;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a file of TOML says nothing.
#[derive(Debug, Error)]
pub enum TomlFileError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It does not parse.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

/// The text in the file at `path`.
pub(crate) fn read(path: &Path) -> Result<String, TomlFileError> {
    std::fs::read_to_string(path).map_err(|source| TomlFileError::Io {
        path: path.display().to_string(),
        source,
    })
}

/// What `text` says; `file` is what errors call it.
pub(crate) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, TomlFileError> {
    toml::from_str(text).map_err(|source| wrong(file, source))
}

/// What is said of a `file` that does not parse.
pub(crate) fn wrong(file: &str, source: toml::de::Error) -> TomlFileError {
    TomlFileError::Parse {
        path: file.to_owned(),
        source: Box::new(source),
    }
}
