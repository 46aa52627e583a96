//! What is verified, and how its digest and its evidence are found.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use fn_error_context::context;
use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::evidence::{self, EvidencePlaces};
use ostree_seal_root::check::image::MeasuredImage;
use ostree_seal_root::check::verity::MeasureError;
use ostree_seal_root::find::deployment;
use ostree_seal_trust::check::{Proof, authenticate, check, deciding};
use ostree_seal_trust::claim::Claim;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::{Evidence, EvidenceKind, Subject};
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::refusal::Refusal;

use super::super::bindings::commit_id;
use super::super::commit::all_threads;
use super::super::input::IMAGE_MAX;
use super::super::progress::ObjectBar;
use crate::convert;
use crate::merkle::FileHasher;
use crate::repo::{Check, Load, NoCache, Source};
use crate::seal::read_note_bytes;

/// Where a digest comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measurement {
    /// From the kernel, which enforces it.
    Measured,
    /// From user space.
    Computed,
}

/// What the check said.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) digest: Digest,
    /// The kind of evidence that decided, if there is any.
    pub(super) kind: Option<EvidenceKind>,
    /// What was signed, if enough trusted keys did.
    pub(super) claim: Option<Claim>,
    pub(super) verdict: Result<Proof, Refusal>,
    pub(super) measurement: Measurement,
}

/// An image, as far as the check looks at it.
struct Image {
    digest: Digest,
    measurement: Measurement,
}

impl Image {
    fn examine(&self, evidence: &Evidence, policy: &SealedPolicy) -> Examined {
        Examined {
            digest: self.digest,
            kind: deciding(evidence, policy),
            claim: authenticate(evidence, policy).ok(),
            verdict: check(self.digest, evidence, policy),
            measurement: self.measurement,
        }
    }
}

/// The image that converting the commit gives, and what the repository has to say for it. A commit may have several
/// notes, for several products or policies; one of them is enough.
pub(super) fn examine_repo(
    (repo, rev): (&Path, &str),
    threads: Option<NonZeroUsize>,
    policy: &SealedPolicy,
) -> anyhow::Result<Result<Examined, CheckError>> {
    let source = Source::open(repo)?;
    let commit = source.commit(rev)?;
    let threads = threads.unwrap_or_else(all_threads);
    let load = Load { threads, cache: &NoCache, check: Check::None, progress: &mut ObjectBar::new() };
    let image =
        Image { digest: convert::digest(&source, &commit, load)?.0, measurement: Measurement::Computed };
    let (id, objects) = (commit_id(&commit)?, source.objects_of(&commit.checksum)?);
    let notes = source.notes(&commit.checksum)?;
    let mut candidates: Vec<Option<Vec<u8>>> =
        notes.into_iter().map(|note| Some(note.into_bytes())).collect();
    if candidates.is_empty() {
        candidates.push(None);
    }
    let (mut first, mut evidence) = (None, evidence::none(id));
    for note in candidates {
        let examined = evidence::set_note(&mut evidence, note, objects, policy)
            .map(|()| image.examine(&evidence, policy));
        if matches!(&examined, Ok(examined) if examined.verdict.is_ok()) {
            return Ok(examined);
        }
        first.get_or_insert(examined);
    }
    first.context("there was nothing to examine")
}

/// An image file and the note that is given with it.
pub(super) fn examine_image(
    image: &Path,
    note: Option<&Path>,
    policy: &SealedPolicy,
) -> anyhow::Result<Result<Examined, CheckError>> {
    let file = File::open(image).with_context(|| format!("opening {}", image.display()))?;
    let note = match note {
        Some(path) => {
            Some(read_note_bytes(path)?.with_context(|| format!("there is no note {}", path.display()))?)
        }
        None => None,
    };
    let evidence = Evidence { subject: Subject::Image, note, commit: None, parent: None };
    Ok(measure(file.into(), image)?.map(|image| image.examine(&evidence, policy)))
}

/// A deployment, found and opened by the initramfs's own functions.
#[context("examining the deployment {}", path.display())]
pub(super) fn examine_deployment(
    path: &Path,
    policy: &SealedPolicy,
) -> anyhow::Result<Result<Examined, CheckError>> {
    let path = path.canonicalize()?;
    let sysroot =
        path.ancestors().nth(5).context("it is not SYSROOT/ostree/deploy/OS/deploy/CHECKSUM.SERIAL")?;
    let target = path.strip_prefix(sysroot)?.to_str().context("its path is not text")?;
    let root = deployment::open_root(sysroot)?;
    let found = deployment::find(&root, target)?;
    let image = measure(found.open_image()?, &path.join(deployment::IMAGE_NAME))?;
    let objects = deployment::open_objects(&root)?;
    let places = EvidencePlaces { deployment: found.dir.as_fd(), objects: objects.as_fd() };
    let evidence = evidence::read(places, found.commit, policy);
    Ok(image.and_then(|image| evidence.map(|evidence| image.examine(&evidence, policy))))
}

/// The kernel's digest. Where the file has no fs-verity, the digest is computed, and the caller is told.
fn measure(image: OwnedFd, path: &Path) -> anyhow::Result<Result<Image, CheckError>> {
    let copy = image.try_clone().context("duplicating a descriptor")?;
    match MeasuredImage::measure(image, path) {
        Ok(image) => Ok(Ok(Image { digest: image.digest(), measurement: Measurement::Measured })),
        Err(CheckError::NotMeasured {
            error: MeasureError::NotEnabled | MeasureError::Unsupported, ..
        }) => {
            let (digest, size) = FileHasher::new()
                .digest_reader(File::from(copy).take(IMAGE_MAX + 1))
                .map_err(|error| anyhow!("reading {}: {error}", path.display()))?;
            ensure!(
                size <= IMAGE_MAX,
                "{} has more than the {IMAGE_MAX} bytes that an image can have",
                path.display()
            );
            Ok(Ok(Image { digest, measurement: Measurement::Computed }))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}
