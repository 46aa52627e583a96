//! Sysroots and their deployments, through libostree: which there are, what the next boot takes, the lock against
//! other programs that change them, and the withdrawal of a staged one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fn_error_context::context;
use ostree::gio;
use ostree::glib;
use ostree_seal_root::read::ReadError;
use rustix::io::Errno;

use crate::beneath::Below;

pub mod running; // what the initramfs said of the running root
pub mod writable; // a writable /sysroot for us alone

mod hold; // what keeps a staged deployment from becoming the default
mod notes; // what libostree has written down of a staged deployment

pub use hold::{HeldBack, Holder};

use hold::{STAGED, holder, staged_notes};
use notes::{Notes, overlay_path};

/// Exists on a system that was booted with OSTree.
const BOOTED_MARK: &str = "/run/ostree-booted";

/// An OSTree system: a directory with `ostree/repo` and `ostree/deploy`.
#[derive(Debug)]
pub struct Sysroot {
    inner: ostree::Sysroot,
    path: PathBuf,
    physical: PathBuf,
}

/// One bootable version of the system.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Place in the boot order; 0 is what the next boot takes, unless it is staged and held back.
    pub index: usize,
    /// The stateroot (`osname`).
    pub stateroot: String,
    /// Checksum of the commit, 64 hex digits.
    pub commit: String,
    /// Tells deployments of the same commit apart.
    pub serial: i32,
    /// `version` in the commit's metadata.
    pub version: Option<String>,
    /// The ref that it follows.
    pub refspec: Option<String>,
    /// Whether libostree makes it the default at the next shutdown only.
    pub staged: bool,
    /// Who keeps it from that, if it is staged.
    pub held_back: Option<Holder>,
    /// Whether it is the running one.
    pub booted: bool,
    /// Whether it is kept when others are cleaned up.
    pub pinned: bool,
    /// Its directory.
    pub directory: PathBuf,
    /// Its initramfs and overlays, in the order in which the kernel unpacks them. Empty for a staged deployment,
    /// whose boot entry isn't written yet.
    pub initrds: Vec<Below>,
    /// What the boot entry of a staged deployment will name behind the tree's own initramfs.
    pub staged_overlays: Vec<Below>,
    inner: ostree::Deployment,
}

/// The lock of a sysroot; given back when dropped.
#[derive(Debug)]
pub struct SysrootLock<'a> {
    sysroot: &'a Sysroot,
}

impl Sysroot {
    /// Opens a sysroot for reading. `own_namespace` promises that the process has a mount namespace of its own, in which
    /// libostree may then make `/sysroot` and `/boot` writable.
    #[context("opening the sysroot {}", path.display())]
    pub fn open(path: &Path, own_namespace: bool) -> Result<Self> {
        ensure!(
            path.join("ostree/repo").exists(),
            "it has no ostree/repo, so it's no OSTree system; name another one with --sysroot=DIR"
        );
        let inner = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
        if own_namespace {
            inner.set_mount_namespace_in_use();
        }
        inner.load(gio::Cancellable::NONE)?;
        // On a running system `/ostree` is a link to `sysroot/ostree`.
        let linked = path.join("ostree").is_symlink();
        let physical = if linked { path.join("sysroot") } else { path.to_owned() };
        Ok(Self { inner, path: path.to_owned(), physical })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The command that seals one of its deployments: on another system than this it would be another one without the path.
    pub fn deploy_command(&self, what: impl std::fmt::Display) -> String {
        if self.path == Path::new("/") {
            format!("ostree-seal deploy {what}")
        } else {
            format!("ostree-seal deploy --sysroot={} {what}", self.path.display())
        }
    }

    /// An `ostree admin` command on it.
    pub fn admin_command(&self, command: &str, what: &str) -> String {
        if self.path == Path::new("/") {
            format!("ostree admin {command} {what}")
        } else {
            format!("ostree admin {command} --sysroot={} {what}", self.path.display())
        }
    }

    /// What to do about an object that is damaged or missing.
    pub fn pull_again(&self) -> String {
        if self.path == Path::new("/") {
            "`ostree fsck --delete`, then pull the commit again".to_owned()
        } else {
            let repo = self.repository();
            format!("`ostree fsck --delete --repo={}`, then pull the commit again", repo.display())
        }
    }

    /// The root directory of its disk, as the initramfs sees it.
    pub fn physical(&self) -> &Path {
        &self.physical
    }

    /// A deployment's path below [`Sysroot::physical`].
    pub fn target(&self, deployment: &Deployment) -> Option<String> {
        let path = deployment.directory.strip_prefix(&self.path).ok()?;
        Some(path.to_str()?.to_owned())
    }

    /// Its repository.
    pub fn repository(&self) -> PathBuf {
        self.path.join("ostree/repo")
    }

    /// Whether the running system is booted from it.
    pub fn is_booted(&self) -> bool {
        self.inner.booted_deployment().is_some()
    }

    /// All deployments in boot order.
    #[context("listing the deployments of {}", self.path.display())]
    pub fn deployments(&self) -> Result<Vec<Deployment>> {
        let booted = self.inner.booted_deployment();
        let repo = self.inner.repo();
        let describe = |(index, inner)| self.describe(index, inner, &repo, booted.as_ref());
        self.inner.deployments().into_iter().enumerate().map(describe).collect()
    }

    /// The deployments that are meant to be booted before the running one, in this order: the staged one, and those that were
    /// deployed ahead of it. None if the running one stays.
    pub fn pending(&self) -> Result<Vec<Deployment>> {
        let mut ahead = self.deployments()?;
        ahead.truncate(ahead.iter().position(|deployment| deployment.booted).unwrap_or(0));
        ahead.sort_by_key(|deployment| (!deployment.staged, deployment.index));
        Ok(ahead)
    }

    /// Takes the lock that all programs take which change deployments, and reads the deployments again. `waiting` is
    /// called once if another program holds it.
    #[context("locking the sysroot {}", self.path.display())]
    pub fn lock(&self, waiting: impl FnOnce()) -> Result<SysrootLock<'_>> {
        if !self.inner.try_lock().map_err(not_locked)? {
            waiting();
            self.inner.lock()?;
        }
        let lock = SysrootLock { sysroot: self };
        self.inner.load(gio::Cancellable::NONE)?;
        Ok(lock)
    }

    fn describe(
        &self,
        index: usize,
        inner: ostree::Deployment,
        repo: &ostree::Repo,
        booted: Option<&ostree::Deployment>,
    ) -> Result<Deployment> {
        let commit = inner.csum().to_string();
        let origin = inner.origin();
        let refspec = origin.and_then(|origin| {
            let keys = ["refspec", "container-image-reference", "baserefspec"];
            keys.iter().find_map(|key| origin.string("origin", key).ok())
        });
        Ok(Deployment {
            index,
            stateroot: inner.osname().to_string(),
            version: version_of(repo, &commit),
            commit,
            serial: inner.deployserial(),
            refspec: refspec.map(|refspec| refspec.to_string()),
            staged: inner.is_staged(),
            held_back: if inner.is_staged() { holder()? } else { None },
            booted: booted.is_some_and(|booted| booted.equal(&inner)),
            pinned: inner.is_pinned(),
            directory: self.path.join(self.inner.deployment_dirpath(&inner).as_str()),
            initrds: self.initrds(&inner),
            staged_overlays: if inner.is_staged() { self.staged_overlays()? } else { Vec::new() },
            inner,
        })
    }

    /// The files that the boot entry names: paths below `/boot`, which on the disk is the directory `boot`.
    fn initrds(&self, deployment: &ostree::Deployment) -> Vec<Below> {
        let Some(entry) = deployment.bootconfig() else { return Vec::new() };
        let first = entry.get("initrd").map(|path| path.to_string());
        let overlays = entry.overlay_initrds().into_iter().map(|path| path.to_string());
        let boot = Below::partition(&self.path, "boot");
        let below_boot = |path: String| {
            let path = path.trim_start_matches('/');
            boot.join(path.strip_prefix("boot/").unwrap_or(path))
        };
        first.into_iter().chain(overlays).map(below_boot).collect()
    }

    #[context("looking for overlays of the initramfs in {STAGED}")]
    fn staged_overlays(&self) -> Result<Vec<Below>> {
        let Some(notes) = staged_notes()? else { return Ok(Vec::new()) };
        let overlays = Notes::parse(&notes)?.overlays;
        Ok(overlays.iter().map(|overlay| overlay_path(&self.path, overlay)).collect())
    }
}

impl SysrootLock<'_> {
    /// The sysroot that is locked.
    pub fn sysroot(&self) -> &Sysroot {
        self.sysroot
    }

    /// Makes a finalized deployment's directory changeable, or immutable again. A file system that knows no such flag
    /// is left alone, as libostree does.
    #[context("changing the immutable flag of {}", deployment.directory.display())]
    pub fn set_mutable(&self, deployment: &Deployment, mutable: bool) -> Result<()> {
        Ok(self.sysroot.inner.deployment_set_mutable(&deployment.inner, mutable, gio::Cancellable::NONE)?)
    }

    /// Takes a deployment out of the boot order, so that the running one stays the default. Its directory is removed.
    #[context("withdrawing deployment {}.{}", deployment.commit, deployment.serial)]
    pub fn withdraw(&self, deployment: &Deployment) -> Result<()> {
        let remaining: Vec<_> = self.sysroot.inner.deployments();
        let remaining: Vec<_> =
            remaining.into_iter().filter(|other| !other.equal(&deployment.inner)).collect();
        self.sysroot.inner.write_deployments(&remaining, gio::Cancellable::NONE)?;
        Ok(())
    }
}

impl SysrootLock<'_> {
    /// Puts a deployment behind the running one; the order of the others stays.
    #[context("putting deployment {}.{} behind the running one", deployment.commit, deployment.serial)]
    pub fn put_behind_running(&self, deployment: &Deployment) -> Result<()> {
        let inner = &self.sysroot.inner;
        let booted = inner.booted_deployment().context("no deployment is the running one")?;
        let mut order = inner.deployments();
        order.retain(|other| !other.equal(&deployment.inner));
        let place =
            order.iter().position(|other| other.equal(&booted)).context("the running one isn't there")?;
        order.insert(place + 1, deployment.inner.clone());
        inner.write_deployments(&order, gio::Cancellable::NONE)?;
        // What counts is what is there now, not what was asked for.
        inner.load(gio::Cancellable::NONE)?;
        let behind = inner.deployments().into_iter().skip_while(|other| !other.equal(&booted));
        ensure!(behind.skip(1).any(|other| other.equal(&deployment.inner)), "it is not where it was put");
        Ok(())
    }
}

impl Deployment {
    /// `STATEROOT/COMMIT.SERIAL`, which no two deployments share.
    pub fn name(&self) -> String {
        format!("{}/{}.{}", self.stateroot, self.commit, self.serial)
    }
}

impl Drop for SysrootLock<'_> {
    fn drop(&mut self) {
        self.sysroot.inner.unlock();
    }
}

fn not_locked(error: glib::Error) -> anyhow::Error {
    let what_to_do = match error.kind() {
        Some(gio::IOErrorEnum::PermissionDenied) => Some("this takes root, or the user who owns the sysroot"),
        Some(gio::IOErrorEnum::ReadOnly) => Some("remount it with `mount -o remount,rw`"),
        _ => None,
    };
    let error = anyhow::Error::new(error);
    match what_to_do {
        Some(what_to_do) => error.context(what_to_do),
        None => error,
    }
}

/// Whether something failed because the user may not do or see it.
pub fn is_no_permission(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let of_kernel = match cause.downcast_ref() {
            Some(ReadError::Os(errno)) => Some(errno),
            _ => cause.downcast_ref::<Errno>(),
        };
        of_io == Some(std::io::ErrorKind::PermissionDenied)
            || matches!(of_kernel, Some(&(Errno::ACCESS | Errno::PERM)))
            || cause
                .downcast_ref::<glib::Error>()
                .is_some_and(|error| error.matches(gio::IOErrorEnum::PermissionDenied))
    })
}

/// Whether the running system was booted with OSTree.
pub fn booted_with_ostree() -> bool {
    Path::new(BOOTED_MARK).exists()
}

/// `version` in a commit's metadata; a commit that is gone has none.
fn version_of(repo: &ostree::Repo, commit: &str) -> Option<String> {
    let commit = repo.load_variant(ostree::ObjectType::Commit, commit).ok()?;
    let metadata = glib::VariantDict::new(Some(&commit.child_value(0)));
    metadata.lookup::<String>("version").ok()?
}
