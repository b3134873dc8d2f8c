//! The key that was probably meant.

use strsim::damerau_levenshtein;

use super::failure::{Failure, Fault, dotted};
use super::node::Step;

/// Longer names are no typing mistakes, and comparing them takes long.
const LONGEST: usize = 100;
/// What a key in another section costs more than one in the same section, in typing mistakes: it loses
/// against a single slip among the neighbours and wins against two.
const ELSEWHERE: f64 = 1.5;

/// What to add to an error about an unknown key or variant: the nearest known one, or all that fit there.
/// `written` is the whole key of an override, `known` are the full paths of all keys.
pub(super) fn hint(failure: &Failure, written: Option<&[Step]>, known: &[String]) -> String {
    match &failure.fault {
        Fault::UnknownKey { key, known: siblings } => {
            let section = dotted(&failure.path[..failure.path.len().saturating_sub(1)]);
            let written = written.filter(|path| path.starts_with(&failure.path)).unwrap_or(&failure.path);
            let siblings = siblings.iter().map(|name| join(&section, name));
            let candidates: Vec<String> = siblings.clone().chain(known.iter().cloned()).collect();
            match nearest(&dotted(written), &candidates).or_else(|| nearest(&join(&section, key), &candidates)) {
                Some(name) => format!("; did you mean `{name}`?"),
                None => format!("; the keys here are {}", siblings.collect::<Vec<_>>().join(", ")),
            }
        }
        Fault::UnknownVariant { name, known } => {
            let candidates: Vec<String> = known.iter().map(|&name| name.to_owned()).collect();
            nearest(name, &candidates).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// The candidate at the smallest distance from the path, if it is near at all; the first one of equals.
fn nearest<'a>(path: &str, candidates: &'a [String]) -> Option<&'a str> {
    if path.len() > LONGEST {
        return None;
    }
    let distances = candidates.iter().map(|candidate| (distance(path, candidate), candidate.as_str()));
    let (distance, nearest) = distances.min_by(|left, right| left.0.total_cmp(&right.0))?;
    let allowed = (last(path).len() as f64 / 3.0).max(ELSEWHERE);
    (distance <= allowed).then_some(nearest)
}

/// Typing mistakes between two full paths. A right name in the wrong section costs [`ELSEWHERE`].
fn distance(path: &str, candidate: &str) -> f64 {
    let whole = damerau_levenshtein(path, candidate) as f64;
    let name = damerau_levenshtein(last(path), last(candidate));
    // A name of which nothing is left is another name.
    if name >= last(path).chars().count() {
        return f64::INFINITY;
    }
    whole.min(name as f64 + ELSEWHERE)
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}
