//! A child process with everything that it starts, and how it ends.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a process that is asked to stop may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often a process that is asked to stop is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A running command, leader of a process group of its own. The group does not outlive this value; the leader does not
/// outlive this program, however that ends.
pub(super) struct Process {
    child: Child,
    ended: bool,
}

impl Process {
    /// Starts a command; both of its outputs go to `log`, it has nothing to read.
    pub fn start(words: &[String], log: File) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let parent = std::process::id();
        // SAFETY: between fork and exec the child only makes two system calls that are safe there.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The parent may have gone before the call.
                if libc::getppid() as u32 != parent { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
            });
        }
        Ok(Process { child: command.spawn()?, ended: false })
    }

    /// How it ended, once it has; whatever it started and left behind is killed.
    pub fn poll(&mut self) -> io::Result<Option<ExitStatus>> {
        // The leader is looked at before it is reaped: until then its number, the group's name, is no one else's.
        // SAFETY: an all-zero siginfo_t is a valid value, which the call fills in.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` lives through the call.
        if unsafe { libc::waitid(libc::P_PID, self.child.id(), &mut info, options) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the field is set for every state that waitid reports.
        if unsafe { info.si_pid() } == 0 {
            return Ok(None);
        }
        self.signal(libc::SIGKILL);
        self.ended = true;
        self.child.wait().map(Some)
    }

    /// Asks the group to stop, and kills it if it does not.
    pub fn stop(&mut self) -> io::Result<()> {
        self.signal(libc::SIGTERM);
        let asked = Instant::now();
        while self.poll()?.is_none() {
            if asked.elapsed() > GRACE {
                self.signal(libc::SIGKILL);
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the leader is not reaped yet, so that the group is ours. That the group has gone is no failure.
        unsafe { libc::killpg(self.child.id() as libc::pid_t, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// In words: `ended with code 1`, `was ended by signal 9`.
pub(super) fn words_of(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Process {
        let words = ["sh", "-c", script].map(String::from);
        Process::start(&words, File::create("/dev/null").unwrap()).unwrap()
    }

    fn wait(mut process: Process) -> ExitStatus {
        loop {
            if let Some(status) = process.poll().unwrap() {
                return status;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether a process runs (a zombie does not).
    fn lives(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    /// Waits until a script has written the number of a process that it started.
    fn number_in(path: &std::path::Path) -> String {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_string(),
                _ => std::thread::sleep(POLL),
            }
        }
    }

    fn is_gone(pid: &str) -> bool {
        let asked = Instant::now();
        while lives(pid) && asked.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(POLL);
        }
        !lives(pid)
    }

    #[test]
    fn ends_are_told() {
        assert_eq!(words_of(wait(start("exit 3"))), "ended with code 3");
        assert_eq!(words_of(wait(start("kill -9 $$"))), "was ended by signal 9");
        let words = ["/dev/null/none".to_string()];
        assert!(Process::start(&words, File::create("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn what_it_started_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let script = |rest: &str| format!("sleep 600 & echo $! > {}/pid; {rest}", folder.path().display());
        let pid = folder.path().join("pid");
        // It ends by itself and leaves a process behind; it is stopped; it does not listen; it is forgotten.
        assert!(wait(start(&script("exit 0"))).success());
        assert!(is_gone(&number_in(&pid)));
        for rest in ["wait", "trap '' TERM; wait; wait; sleep 600"] {
            std::fs::remove_file(&pid).unwrap();
            let mut process = start(&script(rest));
            let number = number_in(&pid);
            assert!(lives(&number));
            process.stop().unwrap();
            assert!(is_gone(&number), "{rest}");
        }
        std::fs::remove_file(&pid).unwrap();
        let process = start(&script("wait"));
        let number = number_in(&pid);
        drop(process);
        assert!(is_gone(&number));
    }
}
