//! The stages of the step, each of which takes what the ones before it returned:
//!
//! ```text
//! policy ──> approved ──────> listing ──> enforced ──> image ──> verified
//! initrd's   evidence that    the objects fs-verity    in its    by the
//!            counts, now and  by name     on each      place     initramfs's check
//!            at the next boot
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result};
use fn_error_context::context;
use ostree_seal_root::check::verity::EnableError;
use ostree_seal_root::find::deployment::IMAGE_NAME;
use ostree_seal_trust::claim::{Claim, ClaimError};
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::refusal::Refusal;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::approved::{Approval, Approved, EvidenceSources, proofs};
use super::directory::{self, Placed};
use super::image::{self, PlacedImage};
use super::outcome::{Outcome, Sealed};
use super::request::{Progress, Request, Step, VerityTiming};
use super::verity::object::{self, Object};
use super::verity::{ObjectError, Pass, SealedObjects, keep_sealed, seal_objects};
use super::{filesystem, preflight};
use crate::continuity::changes::{Demands, between};
use crate::continuity::judge::{Candidate, Continuity, Way, judge};
use crate::initrd::bootable;
use crate::initrd::policy::Trust;
use crate::refused::Refused;
use crate::repo::{self, Check, Checksum, Commit, Load, MissingObject, NoCache, Source};
use crate::sysroot::{Deployment, Sysroot, SysrootLock};
use crate::tree::Tree;

/// Makes a deployment bootable under its policy. A refusal is an error with [`Refused`], [`Refusal`] or a `BootError`
/// in its chain.
#[context("sealing deployment {}.{}", deployment.commit, deployment.serial)]
pub fn seal(lock: &SysrootLock<'_>, deployment: &Deployment, request: &Request<'_>) -> Result<Outcome> {
    let candidates = bootable::of(lock.sysroot(), deployment);
    if let Some(ambiguity) = candidates.ambiguity() {
        request.progress.warn(&ambiguity);
    }
    let mut policies = Vec::new();
    for trust in candidates.trusts(&deployment.directory)? {
        if let Some(running) = request.running.trust() {
            let changes = between(Demands::Sealed(running.policy()), Demands::from(&trust));
            request.progress.changes(changes);
        }
        match trust {
            Trust::Sealed { policy, origin } => policies.push((policy, origin)),
            Trust::Unsealed(origin) => return Ok(Outcome::Unsealed(origin)),
            Trust::Foreign => return Ok(Outcome::Foreign),
        }
    }
    let run = Run { lock, deployment, request };
    let mut all = Vec::new();
    for (index, (policy, origin)) in policies.into_iter().enumerate() {
        let stages = run.stages(&policy).map_err(|error| advise(refuse_incomplete(lock.sysroot(), error)));
        all.push((policy, origin, stages.map_err(|error| candidates.naming(index, error))?));
    }
    for (index, (policy, _, stages)) in all.iter().enumerate().take(all.len().saturating_sub(1)) {
        run.suits(stages, policy, &all[all.len() - 1].2).map_err(|error| candidates.naming(index, error))?;
    }
    let (_, origin, Stages { claim, continuity, image, note, objects }) = all.swap_remove(0);
    Ok(Outcome::Sealed(Box::new(Sealed { origin, claim, continuity, image, note, objects })))
}

/// What one run is about.
struct Run<'a> {
    lock: &'a SysrootLock<'a>,
    deployment: &'a Deployment,
    request: &'a Request<'a>,
}

/// The deployment's commit in its repository.
struct Opened {
    /// Locked against a prune.
    source: Source,
    commit: Commit,
    /// The repository's objects.
    objects: OwnedFd,
}

/// The objects that are to have fs-verity.
enum Listing<'a> {
    /// Those that the deployment's image points at. The kernel enforces on it a digest that was signed.
    Image { bytes: Vec<u8>, approval: &'a Approval },
    /// Those of the commit, for which an image is still to be made.
    Commit(Vec<Checksum>),
    /// None now.
    Deferred,
}

/// What the stages came to.
struct Stages {
    claim: Claim,
    continuity: Continuity,
    image: Placed,
    note: Option<Placed>,
    objects: Option<SealedObjects>,
}

impl Run<'_> {
    fn stages(&self, policy: &SealedPolicy) -> Result<Stages> {
        let subject = self.open()?;
        let approved = self.approve(&subject, policy)?;
        if self.request.fsck {
            self.fsck(&subject)?;
        }
        let listing = self.list(&subject, &approved)?;
        let objects = self.enforce(&subject, &listing)?;
        let image = self.ensure(&subject, &listing, &approved)?;
        let note = self.place_note(image.approval)?;
        let claim = self.verify(image.approval, policy)?;
        self.mark()?;
        let continuity = image.approval.continuity().clone();
        Ok(Stages { claim, continuity, image: image.placed, note, objects })
    }

    /// Whether what the stages came to at `last`, with the policy of another initramfs, is good for this one's, too.
    fn suits(&self, stages: &Stages, policy: &SealedPolicy, last: &Stages) -> Result<()> {
        let (expected, found) = (stages.claim.digest, last.claim.digest);
        if expected != found {
            return Err(Refusal::from(ClaimError::OtherDigest { expected, found }).into());
        }
        self.check(policy).map(drop)
    }

    fn open(&self) -> Result<Opened> {
        let repository = self.sysroot().repository();
        let source = Source::open(&repository)?;
        let commit = source.commit(&self.deployment.commit)?;
        Ok(Opened { source, commit, objects: open_directory(&repository.join("objects"))? })
    }

    /// What was signed for the commit, and what both the policy and the running system's trust accept of it.
    fn approve(&self, subject: &Opened, policy: &SealedPolicy) -> Result<Approved> {
        let sources = EvidenceSources {
            source: &subject.source,
            commit: &subject.commit,
            deployment: &self.deployment.directory,
            note: self.request.note.as_deref(),
        };
        let Request { running, allowed, .. } = *self.request;
        let name = self.deployment.name();
        let way = if self.deployment.staged { Way::Staged } else { Way::InOrder };
        let candidate = Candidate { commit: subject.commit.checksum, name: &name, way };
        Approved::find(sources, &subject.objects, policy, |digest| {
            let vouch = |policy: &SealedPolicy| {
                proofs(sources, &subject.objects, digest, policy).map_err(|error| format!("{error:#}"))
            };
            judge(running, allowed, candidate, vouch)
        })
    }

    /// The objects of the image that is in its place already, or else those of the commit.
    fn list<'s>(&self, subject: &Opened, approved: &'s Approved) -> Result<Listing<'s>> {
        if self.request.verity == VerityTiming::Deferred {
            return Ok(Listing::Deferred);
        }
        filesystem::require_verity(open_directory(&self.sysroot().repository().join("tmp"))?, "../config")?;
        match image::read_enforced(&self.deployment.directory, approved)? {
            Some((bytes, approval)) => Ok(Listing::Image { bytes, approval }),
            None => Ok(Listing::Commit(self.names(subject)?)),
        }
    }

    /// Sees to it that each listed object has fs-verity. Where there is no image yet, this comes first, so that it is made of
    /// digests that the kernel measures: content is read once, by the kernel, and what earlier conversions learned of objects
    /// would spare next to nothing. Where there is one, an idle second run opens and measures, and writes nothing.
    fn enforce(&self, subject: &Opened, listing: &Listing<'_>) -> Result<Option<SealedObjects>> {
        let directory = &subject.objects;
        match listing {
            Listing::Image { bytes, .. } => {
                let list =
                    object::of_image(bytes).with_context(|| format!("reading the image {IMAGE_NAME}"))?;
                self.pass(Step::Enable, &list, |list, pass| keep_sealed(directory, list, pass)).map(Some)
            }
            Listing::Commit(names) => {
                let list = object::unmeasured(names);
                self.pass(Step::Enable, &list, |list, pass| seal_objects(directory, list, pass)).map(Some)
            }
            Listing::Deferred => Ok(None),
        }
    }

    /// Sees to it that an image that was signed is in its place.
    fn ensure<'s>(
        &self,
        subject: &Opened,
        listing: &Listing<'s>,
        approved: &'s Approved,
    ) -> Result<PlacedImage<'s>> {
        if let Listing::Image { approval, .. } = listing {
            return Ok(PlacedImage { approval, placed: Placed::Kept });
        }
        let tree = self.load(subject)?;
        let image = image::ensure(self.lock, self.deployment, self.request, &tree, approved);
        image.map_err(|error| match error.downcast_ref() {
            // An object is damaged, which is found by reading all of them, or else the note is for something else.
            Some(Refusal::Claim(ClaimError::OtherDigest { .. })) => self.fsck(subject).err().unwrap_or(error),
            _ => error,
        })
    }

    /// Reads the commit, and sees to it that the objects are those that its tree names.
    fn load(&self, subject: &Opened) -> Result<Tree> {
        self.request.progress.begin(Step::Convert, 0);
        let mut progress = Converted(self.request.progress);
        let load = Load {
            threads: self.request.threads,
            cache: &NoCache,
            check: Check::None,
            progress: &mut progress,
        };
        let loaded = subject.source.load(&subject.commit, load);
        self.request.progress.end();
        let loaded = loaded?;
        // An object that somebody has put there since; the kernel has measured all others.
        if self.request.verity == VerityTiming::Now && loaded.work.hashed > 0 {
            let list = object::of_tree(&loaded.tree);
            self.pass(Step::Measure, &list, |list, pass| keep_sealed(&subject.objects, list, pass))?;
        }
        Ok(loaded.tree)
    }

    /// Puts the note in its place, unless the same one is there.
    fn place_note(&self, approval: &Approval) -> Result<Option<Placed>> {
        let Some(note) = approval.note() else { return Ok(None) };
        if directory::existing_note(&self.deployment.directory)?.as_deref() == Some(note) {
            return Ok(Some(Placed::Kept));
        }
        directory::change(self.lock, self.deployment, |directory| directory.place_note(note)).map(Some)
    }

    /// What the initramfs's own check says of all that, as far as it can be asked already.
    fn verify(&self, approval: &Approval, policy: &SealedPolicy) -> Result<Claim> {
        Ok(self.check(policy)?.unwrap_or_else(|| approval.claim().clone()))
    }

    /// The initramfs's own check. It can't be asked where fs-verity is deferred.
    fn check(&self, policy: &SealedPolicy) -> Result<Option<Claim>> {
        if self.request.verity == VerityTiming::Deferred {
            return Ok(None);
        }
        let target =
            self.sysroot().target(self.deployment).context("the deployment lies outside its sysroot")?;
        Ok(Some(preflight::check(self.sysroot().physical(), &target, policy)?.claim().clone()))
    }

    /// Marks a deployment whose fs-verity is deferred, and takes the mark from one that is done.
    fn mark(&self) -> Result<()> {
        let text = match self.request.verity {
            VerityTiming::Deferred => Some(DEFERRED_TEXT),
            VerityTiming::Now => None,
        };
        if text.is_none() && !directory::is_deferred(&self.deployment.directory) {
            return directory::finish_killed_run(self.lock, self.deployment);
        }
        directory::change(self.lock, self.deployment, |directory| directory.set_deferred(text))
    }

    fn sysroot(&self) -> &Sysroot {
        self.lock.sysroot()
    }

    /// The names of the commit's file objects. Those who list them wait for the disk more than they compute.
    fn names(&self, subject: &Opened) -> Result<Vec<Checksum>> {
        subject.source.list(&subject.commit, self.request.queue_depth)
    }

    #[context("comparing objects with their checksums")]
    fn fsck(&self, subject: &Opened) -> Result<()> {
        let names = self.names(subject)?;
        self.request.progress.begin(Step::Fsck, names.len());
        let object = || self.request.progress.object();
        let damaged = repo::fsck_files(&self.sysroot().repository(), &names, object)?;
        self.request.progress.end();
        match damaged {
            None => Ok(()),
            Some((object, reason)) => Err(Refused(format!(
                "object {object}.file is damaged: {reason}; {}",
                self.sysroot().pull_again()
            ))
            .into()),
        }
    }

    fn pass(
        &self,
        step: Step,
        list: &[Object<'_>],
        seal: impl FnOnce(&[Object<'_>], &Pass<'_>) -> Result<SealedObjects, ObjectError>,
    ) -> Result<SealedObjects> {
        let progress = self.request.progress;
        progress.begin(step, list.len());
        let pass = Pass { queue_depth: self.request.queue_depth, progress: &|| progress.object() };
        let sealed = seal(list, &pass);
        progress.end();
        sealed.map_err(|error| {
            let refused = error.is_refusal();
            let sentence = match error.is_damage() {
                true => format!("{error}; {}", self.sysroot().pull_again()),
                false => return error.into(),
            };
            if refused { Refused(sentence).into() } else { anyhow::Error::msg(sentence) }
        })
    }
}

/// What conversion says about its objects, said by the deploy step.
struct Converted<'a>(&'a dyn Progress);

impl repo::LoadProgress for Converted<'_> {
    fn objects(&mut self, done: u64, known: u64) {
        self.0.objects(done, known);
    }
}

/// What the marker of a deferred deployment says to who finds it.
const DEFERRED_TEXT: &str = "Image and note are in place, fs-verity is not enabled yet: on a kernel and a file system \
                             that have it, run `ostree-seal deploy`.\n";

#[context("opening {}", path.display())]
fn open_directory(path: &Path) -> Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Says what to do about a disk that is full, whichever step found it out.
fn advise(error: anyhow::Error) -> anyhow::Error {
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        let of_std = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        of_std == Some(io::ErrorKind::StorageFull)
            || cause.downcast_ref() == Some(&Errno::NOSPC)
            || cause.downcast_ref() == Some(&EnableError::Os(Errno::NOSPC))
    };
    if error.chain().any(is_full) {
        anyhow::anyhow!("{error:#}; free some space and run the command again")
    } else {
        error
    }
}

/// A commit without one of its objects will not boot, however often it is tried.
fn refuse_incomplete(sysroot: &Sysroot, error: anyhow::Error) -> anyhow::Error {
    match error.chain().find_map(|cause| cause.downcast_ref::<MissingObject>()) {
        Some(missing) => Refused(format!("{missing}; {}", sysroot.pull_again())).into(),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use ostree_seal_root::check::verity::EnableError;
    use rustix::io::Errno;

    use super::advise;

    #[test]
    fn a_full_disk_is_told_with_what_to_do_about_it() {
        let full = [
            anyhow::Error::new(Errno::NOSPC),
            anyhow::Error::new(std::io::Error::from(Errno::NOSPC)),
            anyhow::Error::new(EnableError::Os(Errno::NOSPC)).context("enabling fs-verity"),
            Err::<(), _>(Errno::NOSPC).context("writing the image").unwrap_err(),
        ];
        for error in full {
            let text = format!("{:#}", advise(error));
            assert!(text.ends_with("; free some space and run the command again"), "{text}");
        }
        let text = format!("{:#}", advise(anyhow::Error::new(Errno::IO)));
        assert!(!text.contains("free some space"), "{text}");
    }
}
