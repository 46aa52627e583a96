//! What runs decides what may come. The initramfs of an update is asked whether it will boot; the trust of the running
//! system is asked whether somebody whom we trust *now* meant this update. Both must say yes.
//!
//! ```text
//! /run/ostree-seal/trust ── RunningSystem ────┐
//! evidence of the deployment ─────────────────┼── judge ──> Continuity, or an Objection
//! Allowed (by an administrator, by name) ─────┘
//! ```

pub mod running; // what the running system goes by

pub mod changes; // what another policy would change

pub mod allowed; // what an administrator lets through, by name
pub mod judge; // whether the running system vouches for a deployment

#[cfg(test)]
mod tests;
