//! What stands between a system and its next sealed boot, or its next update: each finding is one sentence, with the
//! command that fixes it. Nothing is changed. What can't be seen is said to be unchecked, never to be fine.

mod finding; // what was found out about one thing
mod subject; // what all checks look at

mod examine; // the checks, one after the other

mod boot; // the initramfs and the policy of the next boot
mod disk; // the repository and its file system
mod kernel; // the kernel of the next boot
mod update; // what guards the next update

pub use examine::examine;
pub use finding::{CHECKS, Finding, Health};
