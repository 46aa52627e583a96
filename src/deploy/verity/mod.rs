//! fs-verity on the objects of a commit.

pub mod object; // the file objects of a commit or of an image

mod coverage; // how many have fs-verity
mod order; // in which they are taken
mod pass; // switches it on where it is missing, and measures
mod problem; // why an object can't be part of a sealed deployment

pub use coverage::{Coverage, coverage};
pub use object::Object;
pub use pass::{DEFAULT_QUEUE_DEPTH, Pass, SealedObjects, keep_sealed, seal_objects};
pub use problem::{ObjectError, Problem};

#[cfg(test)]
mod tests;
