//! Memory that is kept.

use std::ops::{Deref, DerefMut};

use super::LANES;

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

// SAFETY: a line is an array of plain numbers without padding: 16 × 4 bytes at an alignment of 64.
unsafe impl pulp::bytemuck::Zeroable for Line {}
// SAFETY: as above; every bit pattern is a value, and the type is `Copy` and holds no reference.
unsafe impl pulp::bytemuck::Pod for Line {}

/// Numbers that start at a cache line. A buffer is resized at every use and keeps its memory: fresh pages cost
/// more than what is computed in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// Makes room for `len` numbers, whose values are what was there before.
    pub(crate) fn resize(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(LANES);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0.0; LANES]));
        }
        self.len = len;
        self
    }

    /// `len` zeros.
    pub(crate) fn zeros(&mut self, len: usize) -> &mut [f32] {
        let numbers = self.resize(len);
        numbers.fill(0.0);
        numbers
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &pulp::bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut pulp::bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_kept() {
        let mut buffer = Buffer::default();
        buffer.resize(33).fill(2.0);
        assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (33, 0));
        let place = buffer.as_ptr();
        assert_eq!(buffer.resize(5), [2.0; 5]);
        assert_eq!(buffer.zeros(48), [0.0; 48]);
        assert_eq!(buffer.as_ptr(), place, "a smaller buffer's memory was given up");
    }
}
