//! Durations as people write them.

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
}
