//! A group of threads of one process: the same calls as between processes, with real exchange, for tests.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::Communicator;
use crate::{Error, Result};

/// What one member sends to another. The kind tells calls apart that do not belong together.
enum Message {
    Numbers(Vec<f32>),
    Bytes(Vec<u8>),
}

/// A member of a group of threads. When it is dropped (its thread returned or panicked), calls of the others
/// that need it return an error.
pub struct Threads {
    rank: usize,
    /// To each member, by rank.
    senders: Vec<Sender<Message>>,
    /// From each member, by rank; disconnected once that member is gone.
    receivers: Vec<Receiver<Message>>,
}

/// The `n` members of a new group, by rank, each to be moved to a thread of its own.
pub fn group(n: usize) -> Vec<Threads> {
    let mut members: Vec<Threads> =
        (0..n).map(|rank| Threads { rank, senders: Vec::new(), receivers: Vec::new() }).collect();
    for from in 0..n {
        for to in 0..n {
            let (sender, receiver) = channel();
            members[from].senders.push(sender);
            members[to].receivers.push(receiver);
        }
    }
    members
}

impl Threads {
    fn send(&self, peer: usize, message: Message) -> Result<()> {
        let sender = self.senders.get(peer).ok_or_else(|| self.failure(peer, "does not exist"))?;
        sender.send(message).map_err(|_| self.failure(peer, "left the group"))
    }

    fn receive(&self, peer: usize) -> Result<Message> {
        self.receivers[peer].recv().map_err(|_| self.failure(peer, "left the group"))
    }

    fn failure(&self, peer: usize, what: &str) -> Error {
        Error::World(format!("rank {} of {}: rank {peer} {what}", self.rank, self.senders.len()))
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.senders.len()
    }

    fn exchange(&self, peer: usize, send: &[f32], receive: &mut [f32]) -> Result<()> {
        self.send(peer, Message::Numbers(send.to_vec()))?;
        match self.receive(peer)? {
            Message::Numbers(numbers) if numbers.len() == receive.len() => receive.copy_from_slice(&numbers),
            Message::Numbers(numbers) => {
                let what = format!("sent {} numbers where {} were expected", numbers.len(), receive.len());
                return Err(self.failure(peer, &what));
            }
            Message::Bytes(_) => return Err(self.failure(peer, "gathers while this rank exchanges")),
        }
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        (0..self.size()).try_for_each(|peer| self.send(peer, Message::Bytes(bytes.to_vec())))?;
        let from = |peer| match self.receive(peer)? {
            Message::Bytes(bytes) => Ok(bytes),
            Message::Numbers(_) => Err(self.failure(peer, "exchanges while this rank gathers")),
        };
        (0..self.size()).map(from).collect()
    }

    fn barrier(&self) -> Result<()> {
        self.all_gather(&[]).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.barrier()
    }

    fn abort(&self, code: u8) -> ! {
        std::process::exit(code.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Runs `work` on every member of a group of `n` and returns the results by rank.
    fn on_each<T: Send>(n: usize, work: impl Fn(Threads) -> T + Sync) -> Vec<thread::Result<T>> {
        thread::scope(|scope| {
            let work = &work;
            let members: Vec<_> = group(n).into_iter().map(|member| scope.spawn(move || work(member))).collect();
            members.into_iter().map(|member| member.join()).collect()
        })
    }

    #[test]
    fn numbers_and_bytes_arrive_from_the_right_member() {
        let results = on_each(4, |member| {
            let rank = member.rank();
            let mut received = [0.0; 2];
            member.exchange(rank ^ 1, &[rank as f32, 10.0], &mut received).unwrap();
            let gathered = member.all_gather(&[rank as u8; 3][..rank]).unwrap();
            Box::new(member).finish().unwrap();
            (received, gathered)
        });
        for (rank, result) in results.into_iter().enumerate() {
            let (received, gathered) = result.unwrap();
            assert_eq!(received, [(rank ^ 1) as f32, 10.0]);
            assert_eq!(gathered, [vec![], vec![1], vec![2, 2], vec![3, 3, 3]]);
        }
    }

    #[test]
    fn a_member_that_panics_or_leaves_fails_the_others_instead_of_hanging_them() {
        for leaves_quietly in [true, false] {
            let results = on_each(4, |member| {
                if member.rank() == 2 {
                    assert!(leaves_quietly, "a planted panic");
                    return Ok(());
                }
                member.barrier()
            });
            for (rank, result) in results.into_iter().enumerate() {
                match rank {
                    2 => assert_eq!(result.is_ok(), leaves_quietly),
                    _ => assert!(result.unwrap().unwrap_err().to_string().contains("left the group")),
                }
            }
        }
    }

    #[test]
    fn calls_that_do_not_match_are_errors() {
        let lengths = on_each(2, |member| member.exchange(1 - member.rank(), &[1.0], &mut [0.0; 2]));
        assert!(lengths[0].as_ref().unwrap().as_ref().unwrap_err().to_string().contains("1 numbers where 2"));
        let kinds = on_each(2, |member| match member.rank() {
            0 => member.barrier(),
            _ => member.exchange(0, &[1.0], &mut [0.0]),
        });
        assert!(kinds.into_iter().all(|result| result.unwrap().is_err()));
        let nobody = on_each(1, |member| member.exchange(7, &[], &mut []));
        assert!(nobody[0].as_ref().unwrap().as_ref().unwrap_err().to_string().contains("rank 7 does not exist"));
    }
}
