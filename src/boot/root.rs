//! The new root, from the image or from the deployment's directory, with all that is mounted on it: put together where
//! nobody sees it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ostree_seal_trust::policy::{Policy, SealedPolicy, Unsealed};
use rustix::fs::CWD;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::verity;
use crate::error::{BootError, Doing};
use crate::find::Found;
use crate::find::deployment::{self, DeploymentError, OBJECTS};
use crate::layout::prepare_root_conf::{self, Layout, LayoutError, RootMode};
use crate::layout::{NO_PRIVILEGES, NewRoot};
use crate::mount::namespace::{attach, clone_tree};
use crate::mount::{self, Changes, Layers, Overlay, UnverifiedImage};
use crate::tell::booted::BootedEntry;
use crate::tell::run_files::RunFiles;
use crate::tell::state::BootState;
use crate::tpm::{Event, Tpm};

/// Where the root goes, and how it is laid out.
#[derive(Debug)]
pub struct Destination<'a> {
    /// The directory that the new root is mounted on.
    pub sysroot: &'a Path,
    /// What `prepare-root.conf` says.
    pub layout: &'a Layout,
    /// What is told of it before it is mounted.
    pub tpm: &'a Tpm,
}

/// The root that was built, and what is to be told about it.
#[derive(Debug)]
pub struct BuiltRoot {
    /// Its mount.
    pub tree: OwnedFd,
    /// How it came to be.
    pub state: BootState,
    /// What `/run/ostree-booted` says about composefs.
    pub booted: Vec<BootedEntry>,
    /// What the mounts of the disk may not do.
    of_disk: MountFlags,
}

/// Builds the root that the policy asks for.
pub fn build(
    destination: &Destination<'_>,
    found: &Found,
    policy: &Policy,
    files: &mut RunFiles,
    state: BootState,
) -> Result<BuiltRoot, BootError> {
    let mut built = match policy {
        Policy::Sealed(policy) => sealed(destination, found, policy, files, state)?,
        Policy::Unsealed(policy) => unsealed(destination, found, policy, files, state)?,
    };
    built.lay_out(destination, found, files)?;
    Ok(built)
}

/// The root from an image that has passed the check.
fn sealed(
    destination: &Destination<'_>,
    found: &Found,
    policy: &SealedPolicy,
    files: &mut RunFiles,
    mut state: BootState,
) -> Result<BuiltRoot, BootError> {
    let path = found.deployment.image_path();
    let image = check::verify(found, policy)?;
    state.take_claim(image.claim(), policy);
    state.steps.end("check");
    let event = Event::Image(image.proof().digest());
    state.measured = destination.tpm.measure(policy.measure(), event)?;
    if state.measured.is_some() {
        state.steps.end("measure");
    }
    let overlay =
        destination.with_layers(found, files, |layers| mount::mount_verified(&image, &path, layers))?;
    attach(&overlay.mount, CWD, destination.sysroot)
        .map_err(Doing::with("mounting the overlay on", destination.sysroot))?;
    mount::confirm_enforced(&overlay)?;
    state.steps.end("mount");
    let booted = vec![
        BootedEntry::boolean("composefs", true),
        BootedEntry::boolean("composefs.verity", true),
        BootedEntry::text("composefs.signed", beside(policy.path(), "trusted.d")),
    ];
    state.sealed = true;
    state.method = Some(overlay.method);
    Ok(BuiltRoot { tree: overlay.mount, state, booted, of_disk: NO_PRIVILEGES })
}

/// The root from an image that nothing has checked, or from the deployment's directory.
fn unsealed(
    destination: &Destination<'_>,
    found: &Found,
    unsealed: &Unsealed,
    files: &mut RunFiles,
    mut state: BootState,
) -> Result<BuiltRoot, BootError> {
    state.policy = unsealed.path().to_owned();
    state.commit = Some(found.deployment.commit.to_string());
    state.measured = destination.tpm.measure(unsealed.measure(), Event::Unsealed)?;
    let path = found.deployment.image_path();
    let image = match found.deployment.open_image() {
        Ok(image) => Some(image),
        Err(DeploymentError::NoFile(_)) => None,
        Err(error) => return Err(error.into()),
    };
    state.digest =
        image.as_ref().and_then(|image| verity::measure(image).ok()).map(|digest| digest.to_string());
    let (tree, booted) = match image.map(|image| UnverifiedImage::new(image, unsealed)) {
        Some(image) => {
            let Overlay { mount, method } = destination
                .with_layers(found, files, |layers| mount::mount_unverified(&image, &path, layers))?;
            state.method = Some(method);
            (
                mount,
                vec![
                    BootedEntry::boolean("composefs", true),
                    BootedEntry::boolean("composefs.verity", false),
                ],
            )
        }
        None => (
            clone_tree(&found.deployment.dir).map_err(Doing::step("cloning the deployment's mount"))?,
            vec![],
        ),
    };
    attach(&tree, CWD, destination.sysroot)
        .map_err(Doing::with("mounting the root on", destination.sysroot))?;
    state.steps.end("mount");
    Ok(BuiltRoot { tree, state, booted, of_disk: MountFlags::empty() })
}

impl Destination<'_> {
    /// Prepares the layers in `/run`, and mounts.
    fn with_layers(
        &self,
        found: &Found,
        files: &mut RunFiles,
        mount: impl FnOnce(&Layers<'_>) -> Result<Overlay, BootError>,
    ) -> Result<Overlay, BootError> {
        files.directory("ostree", 0o755)?;
        files.directory("ostree/.private", 0)?;
        let image_mountpoint = files.directory("ostree/.private/cfsroot-lower", 0o700)?;
        let changes = match self.layout.root {
            RootMode::ReadOnly => None,
            mode => {
                files.directory("ostree/.private/root", 0o755)?;
                Some(Changes {
                    upper: files.directory("ostree/.private/root/upper", 0o755)?,
                    work: files.directory("ostree/.private/root/work", 0o700)?,
                    read_only: mode == RootMode::TransientReadOnly,
                })
            }
        };
        mount(&Layers {
            image_mountpoint: &image_mountpoint,
            objects: found.objects.as_fd(),
            objects_path: &self.sysroot.join(OBJECTS),
            changes,
        })
    }
}

impl BuiltRoot {
    /// Mounts `/etc`, `/usr`, `/var` and `/sysroot` on the new root.
    fn lay_out(
        &mut self,
        destination: &Destination<'_>,
        found: &Found,
        files: &mut RunFiles,
    ) -> Result<(), BootError> {
        files.directory("ostree", 0o755)?;
        let image = self.state.method.is_some();
        let read_only = sysroot_is_read_only(destination.layout, found, image)?;
        let root = NewRoot {
            path: destination.sysroot,
            physical: &found.physical,
            deployment: &found.deployment,
            of_disk: self.of_disk,
        };
        if destination.layout.etc_transient {
            let changes = transient_etc(files)?;
            self.booted.push(BootedEntry::text("transient-etc", parent(&changes.upper)));
            root.overlay_etc(&changes)?;
        } else {
            root.bind_etc()?;
        }
        if !image {
            root.protect_usr()?;
        }
        root.bind_boot()?;
        root.bind_sysroot(read_only)?;
        if files.has("ostree/initramfs-mount-var") {
            root.bind_var()?;
        }
        self.booted.push(BootedEntry::boolean("sysroot-ro", read_only));
        self.state.steps.end("lay out");
        Ok(())
    }
}

/// As for ostree-prepare-root: read-only with an image, if nothing else is said; without one, the repository may ask for it.
fn sysroot_is_read_only(layout: &Layout, found: &Found, image: bool) -> Result<bool, BootError> {
    if layout.sysroot_readonly.unwrap_or(image) || image {
        return Ok(layout.sysroot_readonly.unwrap_or(image));
    }
    let Some(text) = deployment::repository_config(&found.physical)? else { return Ok(false) };
    let config = prepare_root_conf::parse(&text)
        .map_err(|problem| LayoutError { path: Path::new("/").join(deployment::CONFIG), problem })?;
    Ok(config.sysroot_readonly.unwrap_or(false))
}

fn transient_etc(files: &mut RunFiles) -> Result<Changes, BootError> {
    let dir = files.fresh_directory("ostree/transient-etc")?;
    let name = format!("ostree/{}", dir.file_name().unwrap_or_default().to_string_lossy());
    Ok(Changes {
        upper: files.directory(&format!("{name}/upper"), 0o755)?,
        work: files.directory(&format!("{name}/work"), 0o755)?,
        read_only: false,
    })
}

/// The path of a file beside another one.
fn beside(path: &str, name: &str) -> String {
    Path::new(path).with_file_name(name).display().to_string()
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}
