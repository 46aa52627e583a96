//! The program from the top down: read, find, check, mount, lay out, publish.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ostree_seal_trust::claim::Claim;
use ostree_seal_trust::policy::{Policy, PolicyFiles, SealedPolicy, Unsealed};
use rustix::fs::{CWD, Mode, fstat, major, minor};
use rustix::io::Errno;
use rustix::process::umask;

use crate::check;
use crate::check::error::CheckError;
use crate::check::verity;
use crate::error::{BootError, Doing};
use crate::find::Found;
use crate::find::cmdline::{self, BootTarget};
use crate::find::deployment::{self, DeploymentError, OBJECTS};
use crate::layout::NewRoot;
use crate::layout::prepare_root_conf::{self, Layout, LayoutError, RootMode};
use crate::mount::namespace::{PrivateMounts, attach, clone_tree};
use crate::mount::{self, Changes, Layers, Overlay, UnverifiedImage};
use crate::read::{self, read_file};
use crate::tell::booted::{self, Entry, EntryValue};
use crate::tell::fields::Fields;
use crate::tell::journal::{Journal, MessageKind, one_line};
use crate::tell::run_files::RunFiles;
use crate::tell::state::BootState;
use crate::tell::trust;

/// The most bytes of the kernel command line.
const CMDLINE_MAX: usize = 1 << 20;

/// The file with the state, in `/run`.
const STATE: &str = "ostree-seal/state.json";

/// Sets up the root below `root`, which is `/` in the initramfs, and says how it went. The exit code is 0, 1 (could not)
/// or 3 (refused).
pub fn run(root: &Path) -> u8 {
    // The modes of what is made in /run are the ones that are asked for.
    umask(Mode::empty());
    let journal = Journal::new(root);
    let Err(error) = set_up(root, &journal) else { return 0 };
    let (kind, word, code) = if error.is_refusal() {
        (MessageKind::Refused, "refused", 3)
    } else {
        (MessageKind::Failed, "failed", 1)
    };
    let message = one_line(&format!("root {word}: {error}"));
    #[allow(clippy::print_stderr, reason = "the one line on the console")]
    {
        eprintln!("ostree-seal-root: {message}");
    }
    let values = Fields::from(&error);
    let mut fields = vec![("OSTREE_SEAL_REASON", error.name())];
    fields.extend(values.named());
    journal.say(kind, &message, &fields);
    code
}

/// What the initramfs says.
struct Settings {
    target: BootTarget,
    files: PolicyFiles,
    policy: Policy,
    layout: Layout,
}

/// The mounted root, and what is to be told about it.
struct Mounted {
    tree: OwnedFd,
    state: BootState,
    /// What `/run/ostree-booted` says about composefs.
    booted: Vec<Entry>,
}

/// Sets up the root below `root`. After an error, all mounts are as they were, and `/run` has nothing new in it.
pub fn set_up(root: &Path, journal: &Journal) -> Result<(), BootError> {
    let mut state = BootState::default();
    let settings = read_settings(root)?;
    state.steps.end("read");
    let mounts = PrivateMounts::unshare(root)?;
    let mut files = RunFiles::new(root.join("run"));
    let built = build(&mounts, &settings, &mut files, state, journal);
    let result = built.and_then(|mounted| {
        mounts.publish(&mounted.tree)?;
        Ok(mounted.state)
    });
    match result {
        Ok(mut state) => {
            state.steps.end("publish");
            // If this fails, the text of a moment ago stays, which lacks this step's time only.
            let _ = files.rewrite(STATE, state.to_json().as_bytes());
            announce(journal, &state);
            Ok(())
        }
        Err(error) => {
            mounts.discard();
            files.remove();
            Err(error)
        }
    }
}

fn read_settings(root: &Path) -> Result<Settings, BootError> {
    let path = root.join("proc/cmdline");
    let bytes =
        read_file(&path, CMDLINE_MAX).map_err(|error| Doing::with("reading", &path)(error.errno()))?;
    let text = String::from_utf8(bytes).map_err(|_| Doing::with("reading", &path)(Errno::ILSEQ))?;
    let target = cmdline::parse(&text)?;
    let (files, policy) = read_policy(&root.join(check::policy::DIRECTORY)).map_err(BootError::unchecked)?;
    let layout =
        prepare_root_conf::read(&read::Mounted, prepare_root_conf::PLACES.map(|name| root.join(name)))?;
    Ok(Settings { target, files, policy, layout })
}

/// The policy, and the very bytes that it was read from.
fn read_policy(directory: &Path) -> Result<(PolicyFiles, Policy), CheckError> {
    let files = check::policy::read(&read::Mounted, directory)?;
    let policy = Policy::parse(&files)?;
    Ok((files, policy))
}

fn build(
    mounts: &PrivateMounts,
    settings: &Settings,
    files: &mut RunFiles,
    mut state: BootState,
    journal: &Journal,
) -> Result<Mounted, BootError> {
    let found = find(mounts.sysroot(), &settings.target, journal)?;
    state.steps.end("find");
    state.deployment.clone_from(&found.deployment.path);
    state.ignored.clone_from(&settings.target.ignored);
    state.root = settings.layout.root;
    let place = Place { sysroot: mounts.sysroot(), layout: &settings.layout };
    let mut mounted = match &settings.policy {
        Policy::Sealed(policy) => sealed(&place, &found, policy, files, state)?,
        Policy::Unsealed(policy) => unsealed(&place, &found, policy, files, state)?,
    };
    mounted.lay_out(&place, &found, files)?;
    mounted.tell(&found, files)?;
    leave_trust(settings, &found, files, journal);
    Ok(mounted)
}

fn find(sysroot: &Path, target: &BootTarget, journal: &Journal) -> Result<Found, BootError> {
    let found = Found::find(sysroot, &target.path)?;
    let deployment = &found.deployment;
    let stat = fstat(&deployment.dir).map_err(Doing::step("looking at the deployment"))?;
    let path = format!("/{}", deployment.path);
    journal.say(
        MessageKind::Resolved,
        &format!("Resolved OSTree target to: {path}"),
        &[
            ("DEPLOYMENT_PATH", &path),
            ("DEPLOYMENT_DEVICE", &stat.st_dev.to_string()),
            ("DEPLOYMENT_INODE", &stat.st_ino.to_string()),
        ],
    );
    Ok(found)
}

/// Where the root goes, and how it is laid out.
struct Place<'a> {
    sysroot: &'a Path,
    layout: &'a Layout,
}

fn sealed(
    place: &Place<'_>,
    found: &Found,
    policy: &SealedPolicy,
    files: &mut RunFiles,
    mut state: BootState,
) -> Result<Mounted, BootError> {
    let path = found.deployment.image_path();
    let image = check::verify(found, policy)?;
    state.take_claim(image.claim(), policy);
    state.steps.end("check");
    let overlay = place.with_layers(found, files, |layers| mount::mount_verified(&image, &path, layers))?;
    attach(&overlay.mount, CWD, place.sysroot)
        .map_err(Doing::with("mounting the overlay on", place.sysroot))?;
    mount::confirm_enforced(&overlay)?;
    state.steps.end("mount");
    let booted = vec![
        Entry::boolean("composefs", true),
        Entry::boolean("composefs.verity", true),
        Entry::text("composefs.signed", beside(policy.path(), "trusted.d")),
    ];
    state.sealed = true;
    state.method = Some(overlay.method);
    Ok(Mounted { tree: overlay.mount, state, booted })
}

fn unsealed(
    place: &Place<'_>,
    found: &Found,
    unsealed: &Unsealed,
    files: &mut RunFiles,
    mut state: BootState,
) -> Result<Mounted, BootError> {
    state.policy = unsealed.path().to_owned();
    state.commit = Some(found.deployment.commit.to_string());
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
            let Overlay { mount, method } =
                place.with_layers(found, files, |layers| mount::mount_unverified(&image, &path, layers))?;
            state.method = Some(method);
            (mount, vec![Entry::boolean("composefs", true), Entry::boolean("composefs.verity", false)])
        }
        None => (
            clone_tree(&found.deployment.dir).map_err(Doing::step("cloning the deployment's mount"))?,
            vec![],
        ),
    };
    attach(&tree, CWD, place.sysroot).map_err(Doing::with("mounting the root on", place.sysroot))?;
    state.steps.end("mount");
    Ok(Mounted { tree, state, booted })
}

impl Place<'_> {
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

impl Mounted {
    /// Mounts `/etc`, `/usr`, `/var` and `/sysroot` on the new root.
    fn lay_out(&mut self, place: &Place<'_>, found: &Found, files: &mut RunFiles) -> Result<(), BootError> {
        files.directory("ostree", 0o755)?;
        let image = self.state.method.is_some();
        let read_only = sysroot_is_read_only(place.layout, found, image)?;
        let root = NewRoot { path: place.sysroot, physical: &found.physical, deployment: &found.deployment };
        if place.layout.etc_transient {
            let changes = transient_etc(files)?;
            self.booted.push(Entry::text("transient-etc", parent(&changes.upper)));
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
        self.booted.push(Entry::boolean("sysroot-ro", read_only));
        self.state.steps.end("lay out");
        Ok(())
    }

    /// Writes what later stages read.
    fn tell(&mut self, found: &Found, files: &mut RunFiles) -> Result<(), BootError> {
        let stat = fstat(&found.deployment.dir).map_err(Doing::step("looking at the deployment"))?;
        let root = self.state.root;
        self.booted.push(Entry {
            key: "backing-root-device-inode",
            value: EntryValue::DeviceInode(stat.st_dev, stat.st_ino),
        });
        self.booted.push(Entry::boolean("root.transient", root == RootMode::Transient));
        self.booted.push(Entry::boolean("root.transient-ro", root == RootMode::TransientReadOnly));
        files.file("ostree-booted", &booted::serialize(&self.booted))?;
        if self.state.method.is_some() {
            files.directory("systemd", 0o755)?;
            let device = fstat(&found.physical).map_err(Doing::step("looking at the physical root"))?.st_dev;
            files
                .link("systemd/volatile-root", &format!("/dev/block/{}:{}", major(device), minor(device)))?;
        }
        if !self.state.sealed {
            files.directory("motd.d", 0o755)?;
            files.file("motd.d/ostree-seal", UNSEALED.as_bytes())?;
        }
        files.directory("ostree-seal", 0o755)?;
        self.state.steps.end("tell");
        files.file(STATE, self.state.to_json().as_bytes())
    }
}

/// Leaves what the next update is judged by. Without it, that is the initramfs on the disk, and each deployment that is
/// chosen is an update: nothing gets through that otherwise wouldn't, so the boot goes on.
fn leave_trust(settings: &Settings, found: &Found, files: &mut RunFiles, journal: &Journal) {
    let left = [trust::leave(&settings.files, files), trust::leave_deployments(&found.physical, files)];
    for error in left.into_iter().filter_map(Result::err) {
        journal.say(MessageKind::Ignored, &format!("updates can be judged less well: {error}"), &[]);
    }
}

/// What everybody who logs in gets to read.
const UNSEALED: &str = "This system is UNSEALED: nothing checks that its files are the ones that were released (ostree seal status).\n";

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

impl BootState {
    fn take_claim(&mut self, claim: &Claim, policy: &SealedPolicy) {
        self.policy = policy.path().to_owned();
        self.digest = Some(claim.digest.to_string());
        self.commit = claim.commit.map(|commit| commit.to_string());
        self.product = claim.product.as_ref().map(ToString::to_string);
        self.index = claim.index;
        self.evidence = Some(claim.kind.to_string());
        self.keys = claim.signers.iter().map(ToString::to_string).collect();
        let keys = policy.skipped().iter().map(ToString::to_string);
        let signatures = claim.skipped.iter().map(ToString::to_string);
        self.skipped = keys.chain(signatures).collect();
    }
}

/// Tells the journal what was mounted.
fn announce(journal: &Journal, state: &BootState) {
    let digest = state.digest.as_deref().unwrap_or("none");
    let fields = [("OSTREE_SEAL_DIGEST", digest), ("OSTREE_SEAL_DEPLOYMENT", &state.deployment)];
    if state.sealed {
        let message = format!("root is sealed: image {digest}, signed by {}", state.keys.join(", "));
        journal.say(MessageKind::Sealed, &message, &fields);
    } else {
        let message = format!("root is UNSEALED: {} says so, and nothing was checked", state.policy);
        journal.say(MessageKind::Unsealed, &message, &fields);
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
