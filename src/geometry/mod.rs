//! The ground floor: point clouds and the groups that act on them. Knows nothing of molecules or networks.

mod clouds;
mod group;
mod inertia;
pub mod kabsch;
mod rotation;
pub mod vector;

pub use clouds::{Clouds, Point};
pub use group::{Group, Se3, So2, Translations, Trivial};
pub use inertia::inertia;
pub use rotation::{Rotation, rotate, rotation_from_quaternion};
