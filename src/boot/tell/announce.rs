//! What was mounted, in the journal.

use super::journal::{Journal, MessageKind};
use super::state::BootState;
use crate::tpm::Measured;

/// Tells what was mounted, and what was passed over on the way.
pub fn announce(journal: &Journal, state: &BootState) {
    let digest = state.digest.as_deref().unwrap_or("none");
    let fields = [("OSTREE_SEAL_DIGEST", digest), ("OSTREE_SEAL_DEPLOYMENT", &state.deployment)];
    if state.sealed {
        let message = format!("root is sealed: image {digest}, signed by {}", state.keys.join(", "));
        journal.say(MessageKind::Sealed, &message, &fields);
    } else {
        let message = format!("root is UNSEALED: {} says so, and nothing was checked", state.policy);
        journal.say(MessageKind::Unsealed, &message, &fields);
    }
    if let Some(measured @ (Measured::Skipped(_) | Measured::NotLogged { .. })) = &state.measured {
        journal.say(MessageKind::Ignored, &format!("measured: {measured}"), &[]);
    }
    for argument in &state.ignored {
        let message =
            format!("kernel argument {argument} is ignored: what is checked is in the initramfs's policy");
        journal.say(MessageKind::Ignored, &message, &[("OSTREE_SEAL_ARGUMENT", argument)]);
    }
    for skipped in &state.skipped {
        journal.say(MessageKind::Ignored, &format!("passed over: {skipped}"), &[]);
    }
}
