//! Working memory that outlives a step.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Things that are lent and come back, so that their memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Pool<T>(Mutex<Vec<T>>);

/// A thing from a [`Pool`].
#[derive(Debug)]
pub(crate) struct Lease<'a, T: Default> {
    pool: &'a Pool<T>,
    thing: T,
}

impl<T: Default> Pool<T> {
    /// A thing that was used before, or a new one.
    pub(crate) fn lease(&self) -> Lease<'_, T> {
        let thing = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Lease { pool: self, thing }
    }
}

impl<T: Default> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        let thing = std::mem::take(&mut self.thing);
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
    }
}

impl<T: Default> Deref for Lease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

impl<T: Default> DerefMut for Lease<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.thing
    }
}
