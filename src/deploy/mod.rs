//! The step of an update that makes a deployment bootable under its policy, or refuses it before the reboot.
//!
//! In this order: what will be asked (policy), what was signed (evidence), fs-verity on the objects, image and note in
//! their place, and the initramfs's own check of the result. Nothing is changed before the evidence is found good for
//! some image, and a run that is killed at any point is finished by the next one.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result};
use fn_error_context::context;
use ostree_seal_root::check::verity::EnableError;
use ostree_seal_root::find::deployment::IMAGE_NAME;
use ostree_seal_trust::claim::{Claim, ClaimError};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::refusal::Refusal;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::initrd::bootable;
use crate::initrd::policy::{self, Origin, Trust};
use crate::refused::Refused;
use crate::repo::{self, Check, Checksum, Commit, Load, MissingObject, NoCache, Source};
use crate::sysroot::{Deployment, Sysroot, SysrootLock};
use crate::tree::Tree;

pub mod filesystem; // which file systems can hold a sealed deployment

pub mod signed; // the evidence that the check accepts

pub mod image; // the image of a deployment's commit
pub mod objects; // the file objects of a commit
pub mod place; // image and note, whole or not at all
pub mod verity; // fs-verity on the objects of a commit

pub mod preflight; // the initramfs's own check

pub mod staged; // hold back, let go or withdraw

use place::{Placed, Verity};
use signed::{Accepted, Signed};

use verity::{ObjectError, Pass, SealedObjects};

/// How a deployment is to be sealed.
pub struct Request<'a> {
    /// A note from elsewhere than the commit's detached metadata.
    pub note: Option<Vec<u8>>,
    /// Whether fs-verity is switched on now.
    pub verity: Verity,
    /// Whether each object's content is compared with its checksum first.
    pub fsck: bool,
    /// Threads that read and hash.
    pub threads: NonZeroUsize,
    /// Threads that wait for the disk while fs-verity is switched on.
    pub queue_depth: NonZeroUsize,
    /// Who hears of the progress.
    pub progress: &'a dyn Progress,
}

/// Hears how far a run is.
pub trait Progress: Sync {
    /// A step begins that goes through so many objects.
    fn begin(&self, step: Step, objects: usize);
    /// One more object of the step is done. Called from any thread.
    fn object(&self);
    /// So many objects of the step are done, and so many are known by now.
    fn objects(&self, done: u64, known: u64);
    /// The step is over.
    fn end(&self);
    /// Something went wrong that is in nobody's way, one sentence.
    fn warn(&self, sentence: &str);
}

/// What conversion says about its objects, said by the deploy step.
struct Converted<'a>(&'a dyn Progress);

impl repo::Progress for Converted<'_> {
    fn objects(&mut self, done: u64, known: u64) {
        self.0.objects(done, known);
    }
}

/// A step that takes longer than a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Comparing contents with checksums.
    Fsck,
    /// Switching fs-verity on.
    Enable,
    /// Making the image.
    Convert,
    /// Measuring each object against the image.
    Measure,
}

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
    /// What became of the image.
    pub image: Placed,
    /// What became of the note, if there is one.
    pub note: Option<Placed>,
    /// Objects that got fs-verity, and those that had it; `None` if that is deferred.
    pub objects: Option<SealedObjects>,
}

/// Makes a deployment bootable under its policy. A refusal is an error with [`Refused`], [`Refusal`] or a `BootError`
/// in its chain.
#[context("sealing deployment {}.{}", deployment.commit, deployment.serial)]
pub fn seal(lock: &SysrootLock<'_>, deployment: &Deployment, request: &Request<'_>) -> Result<Outcome> {
    let bootable = bootable::of(lock.sysroot(), deployment);
    let (policy, origin) = match policy::of_deployment(&deployment.directory, &bootable)? {
        Trust::Sealed { policy, origin } => (policy, origin),
        Trust::Unsealed(origin) => return Ok(Outcome::Unsealed(origin)),
        Trust::Foreign => return Ok(Outcome::Foreign),
    };
    let run = Run { lock, deployment, request, policy: &policy };
    run.seal(origin)
        .map(|sealed| Outcome::Sealed(Box::new(sealed)))
        .map_err(|error| advise(refuse_incomplete(lock.sysroot(), error)))
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

/// What one run is about.
struct Run<'a> {
    lock: &'a SysrootLock<'a>,
    deployment: &'a Deployment,
    request: &'a Request<'a>,
    policy: &'a SealedPolicy,
}

/// What an image is made of.
struct Ingredients<'a> {
    source: &'a Source,
    commit: &'a Commit,
    /// The repository's objects.
    directory: BorrowedFd<'a>,
    accepted: &'a Accepted,
}

/// What was put into a deployment, what it was signed by, and what its image points at.
struct Placement<'a> {
    signed: &'a Signed,
    image: Placed,
    note: Option<Placed>,
    objects: Option<SealedObjects>,
}

impl Run<'_> {
    fn seal(&self, origin: Origin) -> Result<Sealed> {
        let repository = self.sysroot().repository();
        let source = Source::open(&repository)?; // locks it against a prune
        let commit = source.commit(&self.deployment.commit)?;
        let objects = open_directory(&repository.join("objects"))?;
        let places = signed::Places {
            source: &source,
            commit: &commit,
            deployment: &self.deployment.directory,
            note: self.request.note.as_deref(),
        };
        let accepted = Accepted::find(places, &objects, self.policy)?;
        if self.request.fsck {
            self.fsck(&repository, &objects::names_of(&source, &commit, self.request.queue_depth)?)?;
        }
        if self.request.verity == Verity::Now {
            filesystem::require_verity(open_directory(&repository.join("tmp"))?, "../config")?;
        }
        let placement = match self.enforced_image(&accepted)? {
            Some((image, signed)) => self.keep(&objects, &image, signed)?,
            None => self.make(&Ingredients {
                source: &source,
                commit: &commit,
                directory: objects.as_fd(),
                accepted: &accepted,
            })?,
        };
        let claim = match self.request.verity {
            Verity::Now => {
                preflight::check(self.sysroot().physical(), &self.target()?, self.policy)?.claim().clone()
            }
            Verity::Deferred => placement.signed.claim().clone(),
        };
        self.mark_deferred()?;
        let Placement { image, note, objects, .. } = placement;
        Ok(Sealed { origin, claim, image, note, objects })
    }

    /// The deployment's image, if the kernel enforces on it a digest that was signed.
    fn enforced_image<'s>(&self, accepted: &'s Accepted) -> Result<Option<(Vec<u8>, &'s Signed)>> {
        match self.request.verity {
            Verity::Now => image::read_enforced(&self.deployment.directory, |digest| accepted.of(digest)),
            Verity::Deferred => Ok(None),
        }
    }

    /// Seals a deployment whose image is in its place: an idle second run opens and measures, and writes nothing.
    fn keep<'s>(
        &self,
        directory: impl AsFd + Sync,
        image: &[u8],
        signed: &'s Signed,
    ) -> Result<Placement<'s>> {
        let list = objects::of_image(image).with_context(|| format!("reading the image {IMAGE_NAME}"))?;
        let sealed =
            self.pass(Step::Enable, &list, |list, pass| verity::keep_sealed(directory, list, pass))?;
        let note = self.place_note(signed)?;
        Ok(Placement { signed, image: Placed::Kept, note, objects: Some(sealed) })
    }

    /// Switches fs-verity on first, so that the image is made of digests that the kernel measures: content is read once,
    /// by the kernel, and what earlier conversions learned of objects would spare next to nothing.
    fn make<'s>(&self, from: &Ingredients<'s>) -> Result<Placement<'s>> {
        let Ingredients { source, commit, .. } = *from;
        let objects = match self.request.verity {
            Verity::Now => {
                let names = objects::names_of(source, commit, self.request.queue_depth)?;
                let list = objects::unmeasured(&names);
                Some(self.pass(Step::Enable, &list, |list, pass| {
                    verity::seal_objects(from.directory, list, pass)
                })?)
            }
            Verity::Deferred => None,
        };
        let (image, signed) = match self.make_image(from)? {
            Ok(image) => image,
            Err(found) => {
                return Err(self.other_digest(source, commit, from.accepted.first().digest(), found));
            }
        };
        let note = self.place_note(signed)?;
        Ok(Placement { signed, image, note, objects })
    }

    /// Makes the image, sees to it that the objects are those that it names, and puts it in its place. The inner error is
    /// the digest that it has instead of one that was signed.
    fn make_image<'s>(&self, from: &Ingredients<'s>) -> Result<Result<(Placed, &'s Signed), Digest>> {
        self.request.progress.begin(Step::Convert, 0);
        let mut progress = Converted(self.request.progress);
        let load = Load {
            threads: self.request.threads,
            cache: &NoCache,
            check: Check::None,
            progress: &mut progress,
        };
        let loaded = from.source.load(from.commit, load);
        self.request.progress.end();
        let loaded = loaded?;
        // An object that somebody has put there since; the kernel has measured all others.
        if self.request.verity == Verity::Now && loaded.work.hashed > 0 {
            let list = objects::of_tree(&loaded.tree);
            self.pass(Step::Measure, &list, |list, pass| verity::keep_sealed(from.directory, list, pass))?;
        }
        self.place_image(&loaded.tree, from.accepted)
    }

    /// Why the image isn't the one that was signed: an object is damaged, which is found by reading all of them, or else
    /// the note is for something else.
    fn other_digest(
        &self,
        source: &Source,
        commit: &Commit,
        expected: Digest,
        found: Digest,
    ) -> anyhow::Error {
        let repository = self.sysroot().repository();
        let checked = objects::names_of(source, commit, self.request.queue_depth)
            .and_then(|names| self.fsck(&repository, &names));
        checked.err().unwrap_or_else(|| Refusal::from(ClaimError::OtherDigest { expected, found }).into())
    }

    fn sysroot(&self) -> &Sysroot {
        self.lock.sysroot()
    }

    #[context("comparing objects with their checksums")]
    fn fsck(&self, repository: &Path, names: &[Checksum]) -> Result<()> {
        self.request.progress.begin(Step::Fsck, names.len());
        let damaged = repo::fsck_files(repository, names, || self.request.progress.object())?;
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
        list: &[verity::Object<'_>],
        seal: impl FnOnce(&[verity::Object<'_>], &Pass<'_>) -> Result<SealedObjects, ObjectError>,
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

    /// Puts the image of a tree in its place, if it is one that was signed. The inner error is the digest that it has
    /// instead.
    fn place_image<'s>(
        &self,
        tree: &Tree,
        accepted: &'s Accepted,
    ) -> Result<Result<(Placed, &'s Signed), Digest>> {
        let found = |digest| accepted.of(digest);
        place::change(self.lock, self.deployment, |directory| {
            if let Some(signed) = place::existing_digest(directory)?.and_then(found) {
                let kept = directory.keep_image(signed.digest(), self.request.verity)?;
                return Ok(Ok((kept, signed)));
            }
            let Request { verity, threads, .. } = *self.request;
            let written = image::write(tree, &self.deployment.directory, found, verity, threads)?;
            Ok(written.map(|signed| (Placed::Written, signed)))
        })
    }

    /// Puts the note in its place, unless the same one is there.
    fn place_note(&self, signed: &Signed) -> Result<Option<Placed>> {
        let Some(note) = signed.note() else { return Ok(None) };
        if place::existing_note(&self.deployment.directory)?.as_deref() == Some(note) {
            return Ok(Some(Placed::Kept));
        }
        place::change(self.lock, self.deployment, |directory| directory.place_note(note)).map(Some)
    }

    fn mark_deferred(&self) -> Result<()> {
        let text = match self.request.verity {
            Verity::Deferred => Some(DEFERRED_TEXT),
            Verity::Now => None,
        };
        if text.is_none() && !place::is_deferred(&self.deployment.directory) {
            return place::finish_killed_run(self.lock, self.deployment);
        }
        place::change(self.lock, self.deployment, |directory| directory.set_deferred(text))
    }

    /// The deployment's path below the physical root.
    fn target(&self) -> Result<String> {
        self.sysroot().target(self.deployment).context("the deployment lies outside its sysroot")
    }
}

/// What the marker of a deferred deployment says to who finds it.
const DEFERRED_TEXT: &str = "Image and note are in place, fs-verity is not enabled yet: on a kernel and a file system \
                             that have it, run `ostree-seal deploy`.\n";

#[context("opening {}", path.display())]
fn open_directory(path: &Path) -> Result<std::os::fd::OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("verity", &self.verity)
            .field("fsck", &self.fsck)
            .finish_non_exhaustive()
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
