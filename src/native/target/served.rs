//! A driver that is given one plan after another: for fuzzing, where a plan is a few operations and
//! there are many.
//!
//! No runtime is there, and one thread does the operations of all in turn.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::super::anew::ready;
use super::super::cores;
use super::encode::encode;
use super::survey::HANGS;
use super::{TargetFiles, TargetSetup, end_group};

/// How long a plan may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ServedTarget {
    library: PathBuf,
    child: Option<Child>,
    files: std::sync::Arc<TargetFiles>,
    timeout: Duration,
}

impl ServedTarget {
    /// Of the target at `library`.
    pub(crate) fn new(library: &Path, setup: &TargetSetup) -> io::Result<ServedTarget> {
        Ok(ServedTarget {
            library: library.to_owned(),
            child: None,
            files: TargetFiles::write(setup.with_ops(Vec::new()))?,
            timeout: TIMEOUT,
        })
    }

    /// From now on a plan that takes longer is ended.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Does this with it; `Err`: what is wrong, in words.
    pub(crate) fn run(&mut self, setup: &TargetSetup) -> io::Result<Result<(), String>> {
        let mut child = match self.child.take() {
            Some(child) => child,
            None => self.start()?,
        };
        let plan = encode(setup, true);
        let sent = child.stdin.as_mut().map_or(Ok(()), |stdin| {
            stdin.write_all(&(plan.len() as u64).to_le_bytes())?;
            stdin.write_all(&plan)
        });
        let mut answer = [0];
        let comes = match &child.stdout {
            Some(stdout) => ready(&[stdout], self.timeout)?.is_some(),
            None => true,
        };
        if !comes {
            child.kill()?;
            child.wait()?;
            end_group(&child);
            return Ok(Err(format!(
                "{HANGS}: it did not end within {} s",
                self.timeout.as_secs()
            )));
        }
        let got = child
            .stdout
            .as_mut()
            .map_or(Ok(0), |stdout| stdout.read(&mut answer))?;
        if sent.is_ok() && got == 1 {
            self.child = Some(child);
            return Ok(Ok(()));
        }
        let status = child.wait()?;
        end_group(&child);
        let said = std::fs::read(self.files.beside("said")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().last().unwrap_or_default();
        Ok(Err(match status.signal() {
            None if status.code() == Some(86) => said.to_owned(),
            None => {
                let status = status.code().unwrap_or(0);
                format!("exit-status: {status} {said}")
                    .trim_end()
                    .to_owned()
            }
            Some(signal) => {
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                format!("crash: {name} {said}").trim_end().to_owned()
            }
        }))
    }

    fn start(&self) -> io::Result<Child> {
        cores::leave();
        let said = std::fs::File::create(self.files.beside("said"))?;
        self.files
            .driver_command()
            .arg("serve")
            .arg(&self.library)
            .env("TT_ALLOC_TRACKING_ENABLED", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said)
            .process_group(0)
            .spawn()
    }
}

impl Drop for ServedTarget {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
            end_group(child);
        }
    }
}
