//! What another policy and other keys would change, told before it happens.

use std::fmt;

use ostree_seal_trust::evidence::EvidenceKind;
use ostree_seal_trust::names::Product;
use ostree_seal_trust::policy::{Measure, Need, OnRefusal, SealedPolicy};
use ostree_seal_trust::vkey::Vkey;

use crate::initrd::policy::Trust;

/// What is asked of a root: a check by a policy, or nothing.
#[derive(Debug, Clone, Copy)]
pub enum Demands<'a> {
    /// A sealed image.
    Sealed(&'a SealedPolicy),
    /// Nothing: `mode = unsealed`.
    Unsealed,
    /// Nothing: there is no policy.
    Nothing,
}

/// One change from a policy to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustChange {
    /// Whether there is a check at all.
    Mode {
        /// `sealed`, `unsealed` or `no policy`.
        from: &'static str,
        /// The same words.
        to: &'static str,
    },
    /// A key that counts from then on.
    KeyAdded(Vkey),
    /// A key that no longer counts.
    KeyRemoved(Vkey),
    /// A key that never counts from then on.
    KeyRevoked(Vkey),
    /// A key of which nothing says any more that it must not count.
    RevocationDropped(Vkey),
    /// How many keys must sign.
    Threshold {
        /// Before.
        from: usize,
        /// After.
        to: usize,
    },
    /// The product; any, if there is none.
    Product {
        /// Before.
        from: Option<Product>,
        /// After.
        to: Option<Product>,
    },
    /// The lowest index.
    MinimumIndex {
        /// Before.
        from: u64,
        /// After.
        to: u64,
    },
    /// What becomes of a machine whose root was refused.
    OnRefusal {
        /// Before.
        from: OnRefusal,
        /// After.
        to: OnRefusal,
    },
    /// What is measured into the TPM.
    Measure {
        /// Before.
        from: Option<Measure>,
        /// After.
        to: Option<Measure>,
    },
    /// The kinds of evidence.
    Accept {
        /// Before.
        from: Vec<EvidenceKind>,
        /// After.
        to: Vec<EvidenceKind>,
    },
}

/// Whether a change lets more through than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Something may pass that was refused before.
    Loosens,
    /// Something is refused that passed before.
    Tightens,
    /// The keys change hands, as in a rotation.
    Rotates,
}

/// All changes between two policies, in a fixed order. Where one side asks for nothing, that is the only one.
pub fn between(from: Demands<'_>, to: Demands<'_>) -> Vec<TrustChange> {
    match (from, to) {
        (Demands::Sealed(from), Demands::Sealed(to)) => of_policies(from, to),
        (Demands::Unsealed, Demands::Unsealed) | (Demands::Nothing, Demands::Nothing) => Vec::new(),
        _ => vec![TrustChange::Mode { from: from.word(), to: to.word() }],
    }
}

fn of_policies(from: &SealedPolicy, to: &SealedPolicy) -> Vec<TrustChange> {
    let mut changes = of_keys(from, to);
    if from.threshold() != to.threshold() {
        changes.push(TrustChange::Threshold { from: from.threshold(), to: to.threshold() });
    }
    if from.product() != to.product() {
        changes.push(TrustChange::Product { from: from.product().cloned(), to: to.product().cloned() });
    }
    if from.minimum_index() != to.minimum_index() {
        changes.push(TrustChange::MinimumIndex { from: from.minimum_index(), to: to.minimum_index() });
    }
    if !includes(from.accepted(), to.accepted()) || !includes(to.accepted(), from.accepted()) {
        changes.push(TrustChange::Accept { from: from.accepted().to_vec(), to: to.accepted().to_vec() });
    }
    if from.on_refusal() != to.on_refusal() {
        changes.push(TrustChange::OnRefusal { from: from.on_refusal(), to: to.on_refusal() });
    }
    if from.measure() != to.measure() {
        changes.push(TrustChange::Measure { from: from.measure(), to: to.measure() });
    }
    changes
}

/// Trusted keys are compared with their names, which signatures are found by; revoked ones by their bytes alone, as the
/// check does.
fn of_keys(from: &SealedPolicy, to: &SealedPolicy) -> Vec<TrustChange> {
    let has_bytes = |keys: &[Vkey], key: &Vkey| keys.iter().any(|k| k.public_bytes() == key.public_bytes());
    let added = to.trusted().iter().filter(|key| !from.trusted().contains(key));
    let removed = from.trusted().iter().filter(|key| !to.trusted().contains(key));
    let removed = removed.filter(|key| !has_bytes(to.revoked(), key));
    let revoked = to.revoked().iter().filter(|key| !has_bytes(from.revoked(), key));
    let dropped = from.revoked().iter().filter(|key| !has_bytes(to.revoked(), key));
    let mut changes: Vec<TrustChange> = added.cloned().map(TrustChange::KeyAdded).collect();
    changes.extend(removed.cloned().map(TrustChange::KeyRemoved));
    changes.extend(once_each(revoked).map(TrustChange::KeyRevoked));
    changes.extend(once_each(dropped).map(TrustChange::RevocationDropped));
    changes
}

/// Each key once: the check keeps a revoked key under each name that it has.
fn once_each<'a>(keys: impl Iterator<Item = &'a Vkey>) -> impl Iterator<Item = Vkey> {
    let mut once: Vec<Vkey> = Vec::new();
    for key in keys {
        if once.iter().all(|other| other.public_bytes() != key.public_bytes()) {
            once.push(key.clone());
        }
    }
    once.into_iter()
}

fn includes(kinds: &[EvidenceKind], others: &[EvidenceKind]) -> bool {
    others.iter().all(|kind| kinds.contains(kind))
}

impl Demands<'_> {
    /// A word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sealed(_) => "sealed",
            Self::Unsealed => "unsealed",
            Self::Nothing => "no policy",
        }
    }
}

impl<'a> From<&'a Trust> for Demands<'a> {
    fn from(trust: &'a Trust) -> Self {
        match trust {
            Trust::Sealed { policy, .. } => Self::Sealed(policy),
            Trust::Unsealed(_) => Self::Unsealed,
            Trust::Foreign => Self::Nothing,
        }
    }
}

impl TrustChange {
    /// What changes, a word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Mode { .. } => "mode",
            Self::KeyAdded(_) => "key-added",
            Self::KeyRemoved(_) => "key-removed",
            Self::KeyRevoked(_) => "key-revoked",
            Self::RevocationDropped(_) => "revocation-dropped",
            Self::Threshold { .. } => "threshold",
            Self::Product { .. } => "product",
            Self::MinimumIndex { .. } => "minimum-index",
            Self::Accept { .. } => "accept",
            Self::OnRefusal { .. } => "on-refusal",
            Self::Measure { .. } => "measure",
        }
    }

    /// Whether it lets more through than before.
    pub fn effect(&self) -> Effect {
        let loosens = match self {
            Self::KeyAdded(_) => return Effect::Rotates,
            Self::KeyRemoved(_) | Self::KeyRevoked(_) => return Effect::Tightens,
            Self::RevocationDropped(_) => return Effect::Loosens,
            Self::Mode { to, .. } => *to != "sealed",
            Self::Threshold { from, to } => to < from,
            Self::MinimumIndex { from, to } => to < from,
            // From any product to one it tightens; another product is another system.
            Self::Product { from, .. } => from.is_some(),
            Self::Accept { from, to } => !includes(from, to),
            // Most give a root shell there.
            Self::OnRefusal { to, .. } => *to == OnRefusal::Emergency,
            // What is sealed to the PCR as it was before the measurement stays open.
            Self::Measure { from, to } => from.is_some_and(|from| !still_measures(from, *to)),
        };
        if loosens { Effect::Loosens } else { Effect::Tightens }
    }

    /// What was, and what will be, as texts.
    pub fn values(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::KeyAdded(key) | Self::KeyRevoked(key) => (None, Some(key.to_string())),
            Self::KeyRemoved(key) | Self::RevocationDropped(key) => (Some(key.to_string()), None),
            Self::Mode { from, to } => (Some((*from).to_owned()), Some((*to).to_owned())),
            Self::Threshold { from, to } => (Some(from.to_string()), Some(to.to_string())),
            Self::MinimumIndex { from, to } => (Some(from.to_string()), Some(to.to_string())),
            Self::Product { from, to } => (Some(or_any(from.as_ref())), Some(or_any(to.as_ref()))),
            Self::Accept { from, to } => (Some(listed(from)), Some(listed(to))),
            Self::OnRefusal { from, to } => (Some(from.to_string()), Some(to.to_string())),
            Self::Measure { from, to } => (Some(or_nothing(*from)), Some(or_nothing(*to))),
        }
    }
}

impl fmt::Display for TrustChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyAdded(key) => write!(f, "key {} is trusted from then on", key.id())?,
            Self::KeyRemoved(key) => write!(f, "key {} is no longer trusted", key.id())?,
            Self::KeyRevoked(key) => write!(f, "key {} is revoked", key.id())?,
            Self::RevocationDropped(key) => write!(f, "key {} is no longer revoked", key.id())?,
            change => {
                let (from, to) = change.values();
                let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
                write!(f, "{} changes from {from} to {to}", change.word())?;
            }
        }
        match self.effect() {
            Effect::Loosens => write!(f, " (LOOSENS)"),
            Effect::Tightens | Effect::Rotates => Ok(()),
        }
    }
}

impl Effect {
    /// A word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Loosens => "loosens",
            Self::Tightens => "tightens",
            Self::Rotates => "rotates",
        }
    }
}

/// Whether what closed a PCR still does, as reliably.
fn still_measures(from: Measure, to: Option<Measure>) -> bool {
    to.is_some_and(|to| to.pcr == from.pcr && (to.need == Need::Required || from.need == Need::Optional))
}

fn or_nothing(measure: Option<Measure>) -> String {
    measure.map_or_else(|| "nothing".to_owned(), |measure| measure.to_string())
}

fn or_any(product: Option<&Product>) -> String {
    product.map_or_else(|| "any".to_owned(), ToString::to_string)
}

fn listed(kinds: &[EvidenceKind]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
