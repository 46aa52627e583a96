//! What others get to know of the boot: the admin, programs, later stages.

pub mod announce; // what was mounted, in the journal
pub mod booted; // /run/ostree-booted
pub mod fields; // the values in a refusal, one by one
pub mod journal; // what the admin gets to read
pub mod later; // what later stages find in /run
pub mod run_files; // files in /run, which go away again when there is no root
pub mod state; // /run/ostree-seal/state.json
pub mod trust; // /run/ostree-seal/trust and deployments, by which the next update is judged
