//! The step of an update that makes a deployment bootable under its policy, or refuses it before the reboot.
//!
//! Nothing is changed before the evidence is found good for some image, and a run that is killed at any point is
//! finished by the next one.

pub mod outcome; // what became of a deployment
pub mod request; // how a deployment is to be sealed, and who hears of the progress

pub mod seal; // the stages, one after the other

pub mod approved; // the evidence that the check accepts
pub mod verity; // fs-verity on the objects of a commit

pub mod directory; // a deployment's directory: image and note, whole or not at all
pub mod image; // the image of a deployment's commit
pub mod preflight; // the initramfs's own check

pub mod ahead; // let stand, or put behind the running one
pub mod record; // what became of staged deployments that didn't pass
pub mod staged; // hold back, let go or withdraw

pub mod filesystem; // which file systems can hold a sealed deployment

pub use outcome::{Outcome, Sealed};
pub use request::{Progress, Request, Step, VerityTiming};
pub use seal::seal;
