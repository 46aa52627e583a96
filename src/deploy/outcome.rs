//! What became of a deployment that was not refused.

use ostree_seal_trust::claim::Claim;

use super::directory::Placed;
use super::verity::SealedObjects;
use crate::continuity::judge::Continuity;
use crate::initrd::policy::Origin;

/// What became of a deployment that was not refused.
#[derive(Debug)]
pub enum Outcome {
    /// It boots as a sealed system.
    Sealed(Box<Sealed>),
    /// Its policy says `mode = unsealed`: it was left as it is.
    Unsealed(Origin),
    /// It knows nothing of sealing: it was left as it is.
    Foreign,
}

/// A sealed deployment.
#[derive(Debug)]
pub struct Sealed {
    /// Where the policy was read.
    pub origin: Origin,
    /// What was signed, by whom.
    pub claim: Claim,
    /// Why the running system lets it come.
    pub continuity: Continuity,
    /// What became of the image.
    pub image: Placed,
    /// What became of the note, if there is one.
    pub note: Option<Placed>,
    /// Objects that got fs-verity, and those that had it; `None` if that is deferred.
    pub objects: Option<SealedObjects>,
}
