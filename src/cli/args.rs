//! Arguments that several subcommands take: times, and servers.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::engine::threads::ServerChoice;

/// `--server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerArg(pub(crate) ServerChoice);

/// As it is given.
impl fmt::Display for ServerArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ServerChoice::InProcess => f.write_str("inproc"),
            ServerChoice::Spawn => f.write_str("spawn"),
            ServerChoice::Path(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ServerArg {
    type Err = String;

    fn from_str(text: &str) -> Result<ServerArg, String> {
        match text {
            "inproc" => Ok(ServerArg(ServerChoice::InProcess)),
            "spawn" => Ok(ServerArg(ServerChoice::Spawn)),
            _ => unix_path(text)
                .map(|path| ServerArg(ServerChoice::Path(path)))
                .map_err(|_| "use inproc, spawn or unix:PATH".to_owned()),
        }
    }
}

/// `unix:PATH`: where somebody's server listens.
pub(super) fn unix_path(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err("use unix:PATH".to_owned()),
    }
}

/// `500ms`, `90s`, `10m`, `1h30m`, or seconds without a unit.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        |why: &dyn std::fmt::Display| format!("`{text}` is no time: {why}; use 90s, 10m or 2h");
    match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| wrong(&error)),
        Err(_) => humantime::parse_duration(text).map_err(|error| wrong(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("7.5"), Ok(Duration::from_millis(7500)));
    }

    #[test]
    fn what_is_no_duration_is_told_with_what_is() {
        for text in [
            "-3s",
            "-3",
            "soon",
            "",
            "3 fortnights",
            "inf",
            "99999999999999999999h",
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(
                error.starts_with(&format!("`{text}` is no time: "))
                    && error.ends_with("use 90s, 10m or 2h"),
                "{error}"
            );
        }
    }

    #[test]
    fn servers_are_named_by_kind_or_path() {
        assert_eq!(
            "unix:/tmp/x.sock".parse(),
            Ok(ServerArg(ServerChoice::Path("/tmp/x.sock".into())))
        );
        assert!("unix:".parse::<ServerArg>().is_err() && "tcp:1".parse::<ServerArg>().is_err());
    }
}
