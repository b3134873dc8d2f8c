//! Processes that exchange spans of numbers. Nothing above this room knows MPI; nothing in it knows models.

use crate::Result;

/// A member of a group of processes (or threads) that all make the same calls in the same order.
pub trait Communicator: Send {
    /// This member's number, `0..size`.
    fn rank(&self) -> usize;

    /// How many members there are.
    fn size(&self) -> usize;

    /// Sends `send` to `peer` and fills `receive` with what `peer` sends at the same time; the lengths agree.
    fn exchange(&self, peer: usize, send: &[f32], receive: &mut [f32]) -> Result<()>;

    /// Every member's bytes, in the order of the ranks, on every member. For small messages.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Waits for all.
    fn barrier(&self) -> Result<()>;

    /// Ends every member of the group at once, with this exit code; does not return.
    fn abort(&self, code: u8) -> !;
}
