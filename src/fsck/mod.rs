//! Checking what is on the disk, with the damage by path: what breaks on this machine, not objects only.

mod damage; // what was found
mod subject; // what is checked: deployments with their images, commits

mod check; // the check, and the repair

pub use check::{CheckOptions, check};
pub use damage::{Damage, Report, Summary};
pub use subject::{FsckTarget, of_commit, of_deployment};
