//! What the initramfs of a deployment holds: the policy and keys that will be asked at boot, the program that asks, and
//! how the root will be laid out.

pub mod bootable; // which files boot a deployment
pub mod policy; // the policy that will be asked

pub mod content; // what an initramfs holds of ours
pub mod uki; // unified kernel images
