//! Requests to stop: SIGTERM, SIGUSR1 (Slurm's warning before the time limit) and SIGINT only set a flag. Who works looks
//! at it: the trainer finishes the step, all processes agree, save and leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::{Error, Result};

/// The exit code of a program that was asked to stop and saved its state (`EX_TEMPFAIL`): start it again to go on.
pub const STOPPED: u8 = 75;

/// Whether this process was asked to stop.
#[derive(Clone, Debug, Default)]
pub struct StopRequest(Arc<AtomicBool>);

impl StopRequest {
    /// Whether a signal has come.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins to listen on `runtime`. A second SIGINT ends the process at once, with the code of a process
    /// that SIGINT killed: someone at the keyboard who insists does not want to wait for a checkpoint.
    pub fn listen(runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let request = StopRequest::default();
        let _guard = runtime.enter();
        for (kind, name) in [
            (SignalKind::terminate(), "SIGTERM"),
            (SignalKind::user_defined1(), "SIGUSR1"),
            (SignalKind::interrupt(), "SIGINT"),
        ] {
            let mut signals = signal(kind).map_err(Error::io(format!("handler of {name}")))?;
            let flag = request.0.clone();
            runtime.spawn(async move {
                let mut seen = 0;
                while signals.recv().await.is_some() {
                    flag.store(true, Ordering::Relaxed);
                    seen += 1;
                    if seen == 2 && kind == SignalKind::interrupt() {
                        std::process::exit(128 + libc::SIGINT);
                    }
                }
            });
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn signals_set_the_flag_and_nothing_else() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        for number in [libc::SIGTERM, libc::SIGUSR1] {
            let request = StopRequest::listen(&runtime).unwrap();
            assert!(!request.is_set());
            // SAFETY: raising a signal whose handler was installed above.
            unsafe { libc::raise(number) };
            let start = Instant::now();
            while !request.is_set() {
                assert!(start.elapsed() < Duration::from_secs(10), "signal {number} was not noticed");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
