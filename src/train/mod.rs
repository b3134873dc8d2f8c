//! (being laid)

pub mod observe;
