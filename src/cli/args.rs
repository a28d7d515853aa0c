//! Arguments that several subcommands take: times, and servers.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::engine::threads::ServerChoice;

/// `--server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerArg(pub ServerChoice);

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

/// `90s`, `10m`, `2h`, or seconds without a unit.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, seconds) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no time: use 90s, 10m or 2h"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(
            parse_duration("-3s").is_err()
                && parse_duration("soon").is_err()
                && parse_duration("").is_err()
        );
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
