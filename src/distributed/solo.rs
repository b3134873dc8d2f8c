//! The group of one.

use super::Communicator;
use crate::{Error, Result};

/// One process that works alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, peer: usize, _: &[f32], _: &mut [f32]) -> Result<()> {
        Err(Error::World(format!("the only process cannot exchange numbers with rank {peer}")))
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        std::process::exit(code.into())
    }
}
