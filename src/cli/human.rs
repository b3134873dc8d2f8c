//! Durations and sizes as people write them.

use std::time::Duration;

/// Units of time from the largest, in seconds.
const TIMES: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// A duration in its two largest units: `3m12s`, `2d04h`; with tenths below ten seconds: `4.2s`.
pub fn duration(duration: Duration) -> String {
    let tenths = (duration.as_secs_f64() * 10.0).round();
    if tenths < 100.0 {
        return format!("{:.1}s", tenths / 10.0);
    }
    let seconds = (duration.as_secs_f64().round() as u64).max(10);
    let largest = TIMES.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(TIMES.len() - 1);
    let (name, unit) = TIMES[largest];
    match TIMES.get(largest + 1) {
        Some((next, part)) => format!("{}{name}{:02}{next}", seconds / unit, seconds % unit / part),
        None => format!("{seconds}{name}"),
    }
}

/// Reads a duration such as `90s`, `3m12s`, `1h30m`, `2d` or `0.5s`; every number has its unit.
///
/// # Errors
/// What was expected, for a command line or a configuration to put its own place in front of.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("found `{text}`, expected a duration such as `90s`, `3m12s` or `1h30m`");
    let mut rest = text.trim();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or_else(refuse)?;
        let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
        let (name, unit) = TIMES.iter().find(|(name, _)| rest[digits..].starts_with(name)).ok_or_else(refuse)?;
        seconds += number * *unit as f64;
        rest = &rest[digits + name.len()..];
    }
    let given = !text.trim().is_empty();
    Duration::try_from_secs_f64(seconds).ok().filter(|_| given).ok_or_else(refuse)
}

/// A size in bytes with three digits: `812 B`, `33.2 MB`, `1.50 GB` (powers of 1000).
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 and more would be rounded to four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0.0, "0.0s"),
            (4.24, "4.2s"),
            (9.97, "10s"),
            (59.4, "59s"),
            (59.6, "1m00s"),
            (192.0, "3m12s"),
            (3599.9, "1h00m"),
            (7260.0, "2h01m"),
            (187_200.0, "2d04h"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [("90s", 90.0), ("3m12s", 192.0), (" 1h30m ", 5400.0), ("2d", 172_800.0), ("0.5s", 0.5)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)));
        }
        for text in ["", "90", "s", "3x", "1..5s", "-3s", "3m12", "1e9s", "9".repeat(400).as_str(), "é"] {
            let message = parse_duration(text).unwrap_err();
            assert!(message.starts_with(&format!("found `{text}`, expected a duration")), "{message}");
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (33_177_600, "33.2 MB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_500_000_000, "1.50 GB"),
            (9_996_000, "10.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }
}
