//! Small agreements between all members. Every member gets the same answer.

use sha2::{Digest, Sha256};

use super::Communicator;
use crate::{Error, Result};

/// Whether any member says yes.
pub fn any(world: &dyn Communicator, mine: bool) -> Result<bool> {
    Ok(world.all_gather(&[mine.into()])?.iter().any(|theirs| theirs == &[1]))
}

/// Whether every member says yes.
pub fn all(world: &dyn Communicator, mine: bool) -> Result<bool> {
    Ok(!any(world, !mine)?)
}

/// The numbers of all members, concatenated in the order of the ranks. Members that own consecutive runs of
/// micro-shards thus get the numbers of all micro-shards in order, whatever the number of members.
pub fn gather(world: &dyn Communicator, mine: &[f64]) -> Result<Vec<f64>> {
    Ok(rows(world, mine)?.concat())
}

/// The sum of each entry over the members, added in the order of the ranks.
pub fn sum(world: &dyn Communicator, mine: &[f64]) -> Result<Vec<f64>> {
    fold(world, mine, |a, b| a + b)
}

/// The smallest of each entry over the members; NaN where one of them is.
pub fn min(world: &dyn Communicator, mine: &[f64]) -> Result<Vec<f64>> {
    fold(world, mine, |a, b| if a.is_nan() || a < b { a } else { b })
}

/// The largest of each entry over the members; NaN where one of them is.
pub fn max(world: &dyn Communicator, mine: &[f64]) -> Result<Vec<f64>> {
    fold(world, mine, |a, b| if a.is_nan() || a > b { a } else { b })
}

fn fold(world: &dyn Communicator, mine: &[f64], join: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>> {
    let rows = rows(world, mine)?;
    if let Some(rank) = rows.iter().position(|row| row.len() != mine.len()) {
        let (theirs, mine) = (rows[rank].len(), mine.len());
        return Err(Error::World(format!("rank {rank} votes on {theirs} numbers, rank {} on {mine}", world.rank())));
    }
    let column = |i| rows.iter().map(|row: &Vec<f64>| row[i]).reduce(&join).unwrap_or(f64::NAN);
    Ok((0..mine.len()).map(column).collect())
}

/// Each member's numbers, in the order of the ranks.
pub fn rows(world: &dyn Communicator, mine: &[f64]) -> Result<Vec<Vec<f64>>> {
    let bytes: Vec<u8> = mine.iter().flat_map(|number| number.to_le_bytes()).collect();
    let numbers = |row: &Vec<u8>| row.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    Ok(world.all_gather(&bytes)?.iter().map(numbers).collect())
}

/// The bytes that `root` holds, on every member; what the others pass is not looked at.
pub fn broadcast(world: &dyn Communicator, bytes: &[u8], root: usize) -> Result<Vec<u8>> {
    if root >= world.size() {
        return Err(Error::World(format!("broadcast from rank {root} of {}", world.size())));
    }
    let mine = if world.rank() == root { bytes } else { &[] };
    Ok(world.all_gather(mine)?.swap_remove(root))
}

/// Makes sure that all members hold the same bytes; `name` says what they are ("configuration").
///
/// # Errors
/// [`Error::Agreed`], on every member, with the ranks that differ from rank 0.
pub fn agree(world: &dyn Communicator, name: &str, bytes: &[u8]) -> Result<()> {
    let digests = world.all_gather(&Sha256::digest(bytes))?;
    let differing: Vec<String> =
        (0..digests.len()).filter(|&rank| digests[rank] != digests[0]).map(|rank| rank.to_string()).collect();
    if differing.is_empty() {
        return Ok(());
    }
    let (ranks, size) = (differing.join(", "), world.size());
    let message = format!(
        "the processes hold different {name}: rank(s) {ranks} of {size} differ from rank 0; start all of them with the \
         same {name}"
    );
    Err(Error::Agreed { rank: 0, code: Error::World(String::new()).exit_code(), message })
}

/// The outcome of something that every member has just done: its own value where all succeeded; otherwise, on
/// every member, the failure of the lowest rank that failed, as [`Error::Agreed`].
pub fn consent<T>(world: &dyn Communicator, mine: Result<T>) -> Result<T> {
    if world.size() == 1 {
        return mine;
    }
    let note = match &mine {
        Ok(_) => Vec::new(),
        Err(error) => [&[error.exit_code()], error.to_string().as_bytes()].concat(),
    };
    let notes = world.all_gather(&note)?;
    match notes.iter().enumerate().find_map(|(rank, note)| Some((rank, note.split_first()?))) {
        None => mine,
        Some((rank, (&code, message))) => {
            Err(Error::Agreed { rank, code, message: String::from_utf8_lossy(message).into_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::{Solo, threads};

    /// What each of `n` members gets from `work`, by rank.
    fn on_each<T: Send>(n: usize, work: impl Fn(&dyn Communicator) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let work = &work;
            let members: Vec<_> =
                threads::group(n).into_iter().map(|member| scope.spawn(move || work(&member))).collect();
            members.into_iter().map(|member| member.join().unwrap()).collect()
        })
    }

    #[test]
    fn yes_and_no() {
        for (yes, any_yes, all_yes) in [(0b000, false, false), (0b100, true, false), (0b111, true, true)] {
            let votes = on_each(3, |world| {
                let mine = yes >> world.rank() & 1 == 1;
                (any(world, mine).unwrap(), all(world, mine).unwrap())
            });
            assert_eq!(votes, [(any_yes, all_yes); 3]);
        }
        assert!(all(&Solo, true).unwrap() && !any(&Solo, false).unwrap());
    }

    #[test]
    fn numbers() {
        let votes = on_each(3, |world| {
            let mine = [[1e16, -2.0], [1.0, 5.0], [-1e16, f64::NAN]][world.rank()];
            [sum, min, max, gather].map(|vote| vote(world, &mine).unwrap())
        });
        for [sums, mins, maxs, all] in votes {
            assert_eq!(sums[0], (1e16 + 1.0) - 1e16);
            assert_eq!((mins[0], maxs[0]), (-1e16, 1e16));
            assert!(sums[1].is_nan() && mins[1].is_nan() && maxs[1].is_nan());
            assert_eq!(all[..5], [1e16, -2.0, 1.0, 5.0, -1e16]);
        }
        let nan_first = on_each(2, |world| max(world, &[[f64::NAN, 1.0], [2.0, 3.0]][world.rank()]).unwrap());
        assert!(nan_first.iter().all(|row| row[0].is_nan() && row[1] == 3.0));
        let uneven = on_each(2, |world| sum(world, &vec![1.0; 1 + world.rank()]).unwrap_err().to_string());
        assert_eq!(uneven[0], "rank 1 votes on 2 numbers, rank 0 on 1");
    }

    #[test]
    fn the_roots_bytes_reach_all() {
        let got = on_each(3, |world| broadcast(world, &[world.rank() as u8; 4], 1).unwrap());
        assert_eq!(got, [[1u8; 4]; 3]);
        assert!(broadcast(&Solo, b"", 1).is_err());
    }

    #[test]
    fn one_members_failure_is_everyones() {
        let outcomes = on_each(3, |world| {
            let mine = if world.rank() == 1 { Err(Error::Data("no such file".into())) } else { Ok(world.rank()) };
            (consent(world, mine), consent(world, Ok(world.rank())).unwrap())
        });
        for (rank, (outcome, next)) in outcomes.into_iter().enumerate() {
            let error = outcome.unwrap_err();
            assert_eq!((error.exit_code(), error.to_string()), (3, "rank 1: no such file".into()));
            assert_eq!(next, rank, "the members are still in step");
        }
    }

    #[test]
    fn disagreement_names_the_ranks() {
        assert!(on_each(4, |world| agree(world, "data", b"same").is_ok()).into_iter().all(|agreed| agreed));
        let errors = on_each(4, |world| agree(world, "configuration", &[(world.rank() % 2) as u8]).unwrap_err());
        for error in errors {
            assert_eq!(error.exit_code(), 5);
            assert!(error.to_string().contains("rank(s) 1, 3 of 4"), "{error}");
        }
    }
}
