//! How far a program has come: a bar that is redrawn on a terminal, plain lines in a log.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human;

/// Shows `step/total`, the share done, the time left and a message such as `loss 1.234 lr 5e-4 12.3 samples/s`.
///
/// On a terminal this is one line with a bar. Where standard error is not a terminal (`mpirun`, `sbatch`) it is
/// a plain line at most once per interval, and one at the end. Of several processes only the first shows
/// anything; the others hold [`Progress::silent`].
pub struct Progress {
    total: u64,
    /// Where this session began; a resumed run's speed is that of its own steps.
    first: u64,
    started: Instant,
    sink: Sink,
}

enum Sink {
    Silent,
    Bar(ProgressBar),
    Lines { out: Box<dyn Write + Send>, every: Duration, last: Option<Instant> },
}

impl Progress {
    /// Progress on standard error from step `first` (0, or where a run resumes) of `total`; `every` is the
    /// least time between two plain lines.
    pub fn stderr(first: u64, total: u64, every: Duration) -> Self {
        let stderr = std::io::stderr();
        match stderr.is_terminal() {
            true => Self::bar(first, total, ProgressDrawTarget::stderr()),
            false => Self::lines(first, total, every, Box::new(stderr)),
        }
    }

    /// Progress that nobody sees.
    pub fn silent() -> Self {
        Self::new(0, 0, Sink::Silent)
    }

    fn bar(first: u64, total: u64, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target).with_position(first);
        // The template is a constant that a test draws; without it indicatif's own style stays.
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}") {
            bar.set_style(style);
        }
        Self::new(first, total, Sink::Bar(bar))
    }

    fn lines(first: u64, total: u64, every: Duration, out: Box<dyn Write + Send>) -> Self {
        Self::new(first, total, Sink::Lines { out, every, last: None })
    }

    fn new(first: u64, total: u64, sink: Sink) -> Self {
        Progress { total, first, started: Instant::now(), sink }
    }

    /// Reports that `step` steps are done.
    pub fn update(&mut self, step: u64, message: &str) {
        self.update_at(step, message, Instant::now());
    }

    /// Ends the display with a last line, whenever the one before it was.
    pub fn finish(&mut self, step: u64, message: &str) {
        let line = self.line(step, message, self.started.elapsed());
        match &mut self.sink {
            Sink::Silent => {}
            Sink::Bar(bar) => {
                bar.set_position(step);
                bar.abandon_with_message(line);
            }
            Sink::Lines { out, .. } => write_line(out, &line),
        }
    }

    /// Shows a line of its own, above the bar.
    pub fn note(&mut self, text: &str) {
        match &mut self.sink {
            Sink::Silent => {}
            Sink::Bar(bar) => bar.println(text),
            Sink::Lines { out, .. } => write_line(out, text),
        }
    }

    fn update_at(&mut self, step: u64, message: &str, now: Instant) {
        if let Sink::Lines { every, last, .. } = &self.sink
            && last.is_some_and(|last| now.duration_since(last) < *every)
        {
            return;
        }
        let line = self.line(step, message, now.duration_since(self.started));
        match &mut self.sink {
            Sink::Silent => {}
            Sink::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(line);
            }
            Sink::Lines { out, last, .. } => {
                *last = Some(now);
                write_line(out, &line);
            }
        }
    }

    fn line(&self, step: u64, message: &str, elapsed: Duration) -> String {
        let share = if self.total == 0 { 100.0 } else { 100.0 * step as f64 / self.total as f64 };
        let left = match self.time_left(step, elapsed) {
            _ if step >= self.total => format!("in {}", human::duration(elapsed)),
            Some(left) => format!("ETA {}", human::duration(left)),
            None => "ETA ?".to_owned(),
        };
        format!("{step}/{} {share:.1}% {left} {message}", self.total).trim_end().to_owned()
    }

    /// The steps left at the mean speed of this session.
    fn time_left(&self, step: u64, elapsed: Duration) -> Option<Duration> {
        let done = step.checked_sub(self.first).filter(|&done| done > 0)?;
        let left = self.total.saturating_sub(step);
        Duration::try_from_secs_f64(elapsed.as_secs_f64() / done as f64 * left as f64).ok()
    }
}

/// Writes one line at once, so that lines of several processes do not mix. Progress that cannot be shown (a
/// closed pipe) is no reason to stop a run.
fn write_line(out: &mut dyn Write, line: &str) {
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// Text that a test reads while a progress writes it.
    #[derive(Clone, Debug, Default)]
    struct Shared(Arc<Mutex<String>>);

    impl Shared {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn push(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.push(std::str::from_utf8(bytes).unwrap())?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl TermLike for Shared {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.push(&format!("{text}\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.push(text)
        }

        fn clear_line(&self) -> io::Result<()> {
            self.push("\r")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_at_most_once_per_interval() {
        let out = Shared::default();
        let mut progress = Progress::lines(0, 100, Duration::from_secs(10), Box::new(out.clone()));
        let start = progress.started;
        for (step, second) in [(1, 2), (5, 9), (6, 12), (7, 21), (8, 22)] {
            progress.update_at(step, "loss 1.5", start + Duration::from_secs(second));
        }
        let expected = "1/100 1.0% ETA 3m18s loss 1.5\n6/100 6.0% ETA 3m08s loss 1.5\n8/100 8.0% ETA 4m13s loss 1.5\n";
        assert_eq!(out.text(), expected);
        progress.note("checkpoint saved");
        progress.finish(100, "");
        assert_eq!(out.text(), format!("{expected}checkpoint saved\n100/100 100.0% in 0.0s\n"));
    }

    #[test]
    fn a_resumed_run_counts_its_own_steps() {
        let progress = Progress::lines(50, 100, Duration::ZERO, Box::new(io::sink()));
        assert_eq!(progress.line(50, "", Duration::from_secs(9)), "50/100 50.0% ETA ?");
        assert_eq!(progress.line(60, "x", Duration::from_secs(20)), "60/100 60.0% ETA 1m20s x");
    }

    #[test]
    fn a_terminal_shows_the_same_beside_a_bar() {
        let out = Shared::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(out.clone()), 20);
        let mut progress = Progress::bar(0, 4, target);
        progress.note("resumed from step 0");
        progress.update_at(1, "loss 1.5", progress.started + Duration::from_secs(20));
        progress.finish(4, "done");
        let text = out.text();
        assert!(text.contains("resumed from step 0"), "{text:?}");
        assert!(text.contains("4/4 100.0% in 0.0s done"), "{text:?}");
        assert!(text.contains("████████████████████ 4/4"), "{text:?}");
    }

    #[test]
    fn nothing_is_no_division_by_zero() {
        let mut silent = Progress::silent();
        silent.update(3, "x");
        silent.note("x");
        silent.finish(3, "x");
        assert_eq!(silent.line(0, "", Duration::ZERO), "0/0 100.0% in 0.0s");
    }
}
