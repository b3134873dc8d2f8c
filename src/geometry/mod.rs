//! The ground floor: point clouds and the groups that act on them. Knows nothing of molecules or networks.

mod clouds;

pub use clouds::{Clouds, Point};
