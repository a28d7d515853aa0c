//! `heisenbed shm`: what the counters in shared memory say of a live system, and what in them
//! cannot be. Also as a probe of `run`: `--probe 'heisenbed shm --totals'`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use crate::counters::{COUNTERS, Finding, FindingKind, Region, findings};
use crate::numbers::grouped;
use crate::oracle::{Kind, Strength, Verdict};

const FOLDER: &str = "/dev/shm";
/// Regions are small; of a larger file the rest says nothing.
const MAX_BYTES: u64 = 1 << 20;
/// What one reading does not show for certain must be there in so many.
const READINGS: u32 = 3;
const BETWEEN_READINGS: Duration = Duration::from_millis(50);

const EXAMPLES: &str = "Examples:\n  \
    heisenbed shm                                   # every region of this machine\n  \
    heisenbed shm /dev/shm/tt_device_469504_memory --format json\n  \
    heisenbed run --tracking --probe 'heisenbed shm --totals' -- ./my_test\n\n\
Exits 0 where nothing is wrong, 1 where a counter or a slot cannot be as it is, 2 where there is no\n\
region, 3 where one is not whole yet.";

/// Arguments of `heisenbed shm`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShmArgs {
    /// Regions; without it, /dev/shm/tt_device_*_memory
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only the totals, a line each: device, memory, bytes, as --probe of `run` takes them
    #[arg(long)]
    totals: bool,
}

/// A region, with what is wrong in it.
struct Read {
    path: PathBuf,
    region: Region,
    findings: Vec<Finding>,
}

/// A region that was found, and says nothing yet.
struct Unread {
    path: PathBuf,
    why: String,
}

/// Runs the subcommand.
pub(crate) fn run(args: &ShmArgs, context: &Context) -> CommandOutcome {
    let were_named = !args.files.is_empty();
    let files = match args.files.is_empty() {
        false => args.files.clone(),
        true => match regions_here(Path::new(FOLDER)) {
            Ok(files) => files,
            Err(why) => return CommandOutcome::bad_input(why, context.format),
        },
    };
    let (read, unread) = match read_all(files, were_named) {
        Ok(all) => all,
        Err(why) => return CommandOutcome::bad_input(why, context.format),
    };
    let stderr = unread.iter().map(left_out).collect();
    if args.totals {
        return CommandOutcome {
            stdout: totals(&read),
            stderr,
            ..CommandOutcome::default()
        };
    }
    let verdict = verdict(&read, &unread);
    CommandOutcome {
        stdout: match context.format {
            Format::Human => read.iter().map(text).collect(),
            Format::Json => format!("{}\n", as_json(&read, &unread, verdict)),
        },
        stderr,
        exit_code: ExitStatus::of(verdict).code(),
    }
}

/// What the files say, and which of those that were found here say nothing yet. One that was named
/// must be readable; so must one of them all.
fn read_all(files: Vec<PathBuf>, were_named: bool) -> Result<(Vec<Read>, Vec<Unread>), String> {
    let mut read = Vec::new();
    let mut unread: Vec<Unread> = Vec::new();
    for path in files {
        match settled(&path) {
            Ok((region, findings)) => read.push(Read {
                path,
                region,
                findings,
            }),
            Err(why) if were_named => return Err(format!("{}: {why}", path.display())),
            Err(why) => unread.push(Unread { path, why }),
        }
    }
    match unread.first() {
        Some(first) if read.is_empty() => Err(format!("{}: {}", first.path.display(), first.why)),
        _ => Ok((read, unread)),
    }
}

fn regions_here(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let none = || {
        format!(
            "there is no {}/tt_device_*_memory: no runtime keeps counters on this machine; name a \
             FILE where it keeps them elsewhere",
            folder.display()
        )
    };
    let entries = std::fs::read_dir(folder).map_err(|_| none())?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with("tt_device_") && name.ends_with("_memory"))
        })
        .collect();
    files.sort();
    if files.is_empty() {
        Err(none())
    } else {
        Ok(files)
    }
}

/// The region, read until what is wrong is certain, or was there each time.
fn settled(path: &Path) -> Result<(Region, Vec<Finding>), String> {
    let mut region = read(path)?;
    let mut found = findings(&region, &is_alive);
    for _ in 1..READINGS {
        if found.iter().all(|finding| finding.is_certain) {
            break;
        }
        std::thread::sleep(BETWEEN_READINGS);
        region = read(path)?;
        let again = findings(&region, &is_alive);
        let before = std::mem::take(&mut found);
        let stays = |finding: &Finding| {
            finding.is_certain || before.iter().any(|other| other.kind == finding.kind)
        };
        found = again.into_iter().filter(stays).collect();
    }
    Ok((region, found))
}

fn read(path: &Path) -> Result<Region, String> {
    use std::io::Read as _;
    // A pipe would be waited for.
    let kind = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !kind.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Region::parse(&bytes).map_err(|error| error.to_string())
}

/// Whether the process runs, here: one of another pid namespace does not.
fn is_alive(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn verdict(read: &[Read], unread: &[Unread]) -> Verdict {
    let has = |wanted: fn(FindingKind) -> bool| {
        let mut all = read.iter().flat_map(|read| &read.findings);
        all.any(|finding| wanted(finding.kind))
    };
    if has(|kind| kind != FindingKind::NotReady) {
        Verdict::Diverged
    } else if has(|kind| kind == FindingKind::NotReady) || !unread.is_empty() {
        Verdict::Inconclusive
    } else {
        Verdict::Clean
    }
}

/// The divergence that a finding is; none where nothing is known yet.
fn kind_of(kind: FindingKind) -> Option<Kind> {
    match kind {
        FindingKind::DriftedTotal => Some(Kind::DriftedTotal),
        FindingKind::Underflow => Some(Kind::Underflow),
        FindingKind::SlotConflict => Some(Kind::SlotConflict),
        FindingKind::DeadProcess => Some(Kind::PhantomLive),
        FindingKind::NotReady => None,
    }
}

fn name_of(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::DeadProcess => "dead-process",
        FindingKind::NotReady => "not-ready",
        _ => kind_of(kind).map_or("", Kind::name),
    }
}

/// Of the memories that allocators have: circular buffers and kernels lie in L1.
fn totals(read: &[Read]) -> String {
    let mut text = String::new();
    for Read { region, .. } in read {
        for (memory, bytes) in COUNTERS.iter().zip(&region.totals).take(4) {
            let _ = writeln!(text, "{} {memory} {bytes}", region.device);
        }
    }
    text
}

fn left_out(unread: &Unread) -> String {
    format!("note: {} left out: {}\n", unread.path.display(), unread.why)
}

fn text(read: &Read) -> String {
    let region = &read.region;
    let mut text = format!(
        "{}: device {}, version {}, {} attached\n",
        read.path.display(),
        region.device,
        region.version,
        match region.references {
            1 => "1 process".to_owned(),
            count => format!("{} processes", grouped(count.into())),
        }
    );
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let counters = COUNTERS.iter().take(region.totals.len());
    let heading = std::iter::once(String::new()).chain(counters.map(|name| (*name).to_owned()));
    table.set_header(heading);
    let mut row = |what: String, bytes: &[u64]| {
        let bytes = bytes.iter().map(|bytes| grouped(*bytes));
        table.add_row(std::iter::once(what).chain(bytes));
    };
    row("total".to_owned(), &region.totals);
    for chip in &region.chips {
        let remote = if chip.is_remote { ", remote" } else { "" };
        row(format!("chip {}{remote}", chip.chip), &chip.bytes);
    }
    for process in &region.processes {
        let name = process.name.escape_debug();
        row(format!("process {} {name}", process.pid), &process.bytes);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let _ = writeln!(text, "{}", table.trim_fmt());
    for finding in &read.findings {
        let _ = writeln!(text, "{}: {}", name_of(finding.kind), finding.says);
    }
    if read.findings.is_empty() {
        text.push_str("nothing in it contradicts itself\n");
    }
    text
}

fn as_json(read: &[Read], unread: &[Unread], verdict: Verdict) -> Value {
    let mut divergences: BTreeMap<Kind, u64> = BTreeMap::new();
    for finding in read.iter().flat_map(|read| &read.findings) {
        if let Some(kind) = kind_of(finding.kind) {
            *divergences.entry(kind).or_default() += 1;
        }
    }
    let named = |bytes: &[u64]| -> BTreeMap<&str, u64> {
        COUNTERS
            .iter()
            .copied()
            .zip(bytes.iter().copied())
            .collect()
    };
    let regions: Vec<Value> = read
        .iter()
        .map(
            |Read {
                 path,
                 region,
                 findings,
             }| {
                json!({
                    "file": path.display().to_string(),
                    "version": region.version,
                    "device": region.device,
                    "chip": region.chip,
                    "attached": region.references,
                    "active_processes": region.active_processes,
                    "updated_ns": region.updated_ns,
                    "totals": named(&region.totals),
                    "chips": region.chips.iter().map(|chip| json!({
                        "slot": chip.slot, "chip": chip.chip, "remote": chip.is_remote,
                        "bytes": named(&chip.bytes),
                    })).collect::<Vec<_>>(),
                    "processes": region.processes.iter().map(|process| json!({
                        "slot": process.slot, "pid": process.pid, "name": process.name,
                        "updated_ns": process.updated_ns, "bytes": named(&process.bytes),
                        "alive": process.pid > 0 && is_alive(process.pid),
                    })).collect::<Vec<_>>(),
                    "findings": findings.iter().map(|finding| json!({
                        "kind": name_of(finding.kind), "says": finding.says,
                    })).collect::<Vec<_>>(),
                })
            },
        )
        .collect();
    json!({
        "verdict": verdict,
        "check": Strength::Totals,
        "divergences": divergences,
        "regions": regions,
        "unread": unread.iter().map(|unread| json!({
            "file": unread.path.display().to_string(), "why": unread.why,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is just being made must not hide what is wrong in another.
    #[test]
    fn a_region_that_nobody_has_written_does_not_hide_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |device: u32| {
            let path = folder.path().join(format!("tt_device_{device}_memory"));
            std::fs::write(&path, vec![0; 16384]).expect("written");
            path
        };
        let (blank, sound) = (file(1), file(2));
        let found = regions_here(folder.path()).expect("two");
        assert_eq!(found, [blank.clone(), sound.clone()]);
        let only_blank = read_all(found.clone(), false)
            .err()
            .expect("none says more");
        assert!(only_blank.contains("version 0"), "{only_blank}");
        // Version 1, and nothing in it.
        let mut bytes = vec![0; 16384];
        bytes[0] = 1;
        std::fs::write(&sound, bytes).expect("written");
        let (read, unread) = read_all(found.clone(), false).expect("one says more");
        let paths = |all: &[Unread]| all.iter().map(|one| one.path.clone()).collect::<Vec<_>>();
        assert_eq!((read.len(), paths(&unread)), (1, vec![blank]));
        assert_eq!(verdict(&read, &unread), Verdict::Inconclusive);
        assert_ne!(verdict(&read, &[]), Verdict::Inconclusive);
        assert!(left_out(&unread[0]).contains("tt_device_1_memory left out: version 0"));
        assert!(read_all(found, true).is_err());
    }
}
