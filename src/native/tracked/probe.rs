//! `--probe CMD`: totals that something outside of the program knows of its allocator, as a tool
//! that reads counters in shared memory does. A line each: device, memory, bytes.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::cores;
use crate::device::Memory;
use crate::oracle::traffic::TrafficEvent;

/// A probe takes no longer than this.
const LIMIT: Duration = Duration::from_secs(10);
/// It prints no more than this.
const MAX_BYTES: u64 = 1 << 20;

/// Runs the command; what it says is compared with what the server has at rest.
pub(super) fn run(command: &str) -> Result<Vec<TrafficEvent>, String> {
    let complain = |why: String| format!("--probe {command}: {why}");
    cores::leave();
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| complain(error.to_string()))?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = out.map(|out| out.take(MAX_BYTES).read_to_end(&mut text));
        (read.is_some_and(|read| read.is_ok()), text)
    });
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(complain("no end within 10 s".to_owned()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(complain(error.to_string())),
        }
    };
    if !status.success() {
        return Err(complain(status.to_string()));
    }
    let (read, text) = reader.join().unwrap_or_default();
    if !read {
        return Err(complain("what it prints cannot be read".to_owned()));
    }
    let totals = parse(&String::from_utf8_lossy(&text)).map_err(complain)?;
    if totals.is_empty() {
        return Err(complain("it reports nothing".to_owned()));
    }
    Ok(totals)
}

fn parse(text: &str) -> Result<Vec<TrafficEvent>, String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            total(line).ok_or_else(|| {
                format!("`{line}` is no total; a line is `DEVICE MEMORY BYTES`, as in `0 l1 4096`")
            })
        })
        .collect()
}

fn total(line: &str) -> Option<TrafficEvent> {
    let mut words = line.split_ascii_whitespace();
    let device = words.next()?.parse().ok()?;
    let memory = words.next()?.to_ascii_lowercase().replace('_', "-");
    let memory = Memory::ALL
        .into_iter()
        .find(|known| known.name() == memory || (*known as u8).to_string() == memory)?;
    let bytes = words.next()?.parse().ok()?;
    words.next().is_none().then_some(TrafficEvent::Total {
        device,
        memory: memory as u32,
        bytes,
        at_rest: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_total_and_others_are_named() {
        let total = |device, memory, bytes| TrafficEvent::Total {
            device,
            memory,
            bytes,
            at_rest: false,
        };
        let text = "# counters\n0 L1 4096\n\n1 dram 0\n1 l1_small 7\n";
        assert_eq!(
            parse(text).unwrap(),
            [total(0, 1, 4096), total(1, 0, 0), total(1, 2, 7)]
        );
        for wrong in ["0 l1", "0 l9 1", "x l1 1", "0 l1 -1", "0 l1 1 2"] {
            assert!(parse(wrong).unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn a_command_that_says_nothing_or_fails_is_named() {
        assert_eq!(run("echo 0 1 64").unwrap().len(), 1);
        for (command, why) in [("exit 3", "exit status: 3"), ("true", "reports nothing")] {
            let error = run(command).unwrap_err();
            assert!(error.contains(command) && error.contains(why), "{error}");
        }
    }
}
