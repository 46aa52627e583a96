//! A system in an image that nobody has mounted: which of its files need fs-verity, whether they are what the image was made
//! for, and what the first boot will make of it.

pub mod compare; // digests found against digests promised
pub mod targets; // the files that need fs-verity
pub mod verdict; // what the first boot will make of each deployment

mod skeleton; // what decides how a system boots, copied out of the image
