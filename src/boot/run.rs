//! The program from the top down: read, find, check, mount, lay out, publish.

use std::path::Path;

use ostree_seal_trust::policy::{Policy, PolicyFiles};
use rustix::fs::{Mode, fstat};
use rustix::io::Errno;
use rustix::process::umask;

use crate::check;
use crate::check::error::CheckError;
use crate::error::{BootError, Doing};
use crate::find::Found;
use crate::find::cmdline::{self, BootTarget};
use crate::layout::prepare_root_conf::{self, Layout};
use crate::mount::namespace::PrivateMounts;
use crate::read::{self, read_file};
use crate::root::{self, BuiltRoot, Destination};
use crate::tell::announce::announce;
use crate::tell::fields::Fields;
use crate::tell::journal::{Journal, MessageKind, one_line};
use crate::tell::later;
use crate::tell::run_files::RunFiles;
use crate::tell::state::{BootState, STATE_FILE};
use crate::tell::trust;
use crate::tpm::{self, Tpm};

/// The most bytes of the kernel command line.
const CMDLINE_MAX: usize = 1 << 20;

/// Sets up the root below `root`, which is `/` in the initramfs, and says how it went. The exit code is 0, 1 (could not)
/// or 3 (refused).
pub fn run(root: &Path) -> u8 {
    // The modes of what is made in /run are the ones that are asked for.
    umask(Mode::empty());
    let journal = Journal::new(root);
    let Err(error) = set_up(root, &journal) else { return 0 };
    let not_closed = tpm::close(root);
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
    if let Some(error) = not_closed {
        let message = format!("what is sealed to the TPM may still open: {error}");
        journal.say(MessageKind::Ignored, &message, &[("OSTREE_SEAL_REASON", error.name())]);
    }
    code
}

/// What the initramfs says.
struct Settings {
    target: BootTarget,
    files: PolicyFiles,
    policy: Policy,
    layout: Layout,
}

/// Sets up the root below `root`. After an error, all mounts are as they were, and `/run` has nothing new in it.
pub fn set_up(root: &Path, journal: &Journal) -> Result<(), BootError> {
    let mut state = BootState::default();
    let settings = read_settings(root)?;
    state.steps.end("read");
    let mounts = PrivateMounts::unshare(root)?;
    let mut files = RunFiles::new(root.join("run"));
    let tpm = Tpm::below(root);
    let built = build((&mounts, &tpm), &settings, &mut files, state, journal);
    let result = built.and_then(|built| {
        mounts.publish(&built.tree)?;
        Ok(built.state)
    });
    match result {
        Ok(mut state) => {
            state.steps.end("publish");
            // If this fails, the text of a moment ago stays, which lacks this step's time only.
            let _ = files.rewrite(STATE_FILE, state.to_json().as_bytes());
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
    (mounts, tpm): (&PrivateMounts, &Tpm),
    settings: &Settings,
    files: &mut RunFiles,
    mut state: BootState,
    journal: &Journal,
) -> Result<BuiltRoot, BootError> {
    let found = find(mounts.sysroot(), &settings.target, journal)?;
    state.steps.end("find");
    state.deployment.clone_from(&found.deployment.path);
    state.ignored.clone_from(&settings.target.ignored);
    state.root = settings.layout.root;
    let destination = Destination { sysroot: mounts.sysroot(), layout: &settings.layout, tpm };
    let mut built = root::build(&destination, &found, &settings.policy, files, state)?;
    later::write(&mut built.state, &mut built.booted, &found, files)?;
    leave_trust(settings, &found, files, journal);
    Ok(built)
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

/// Leaves what the next update is judged by. Without it, that is the initramfs on the disk, and each deployment that is
/// chosen is an update: nothing gets through that otherwise wouldn't, so the boot goes on.
fn leave_trust(settings: &Settings, found: &Found, files: &mut RunFiles, journal: &Journal) {
    let left = [trust::leave(&settings.files, files), trust::leave_deployments(&found.physical, files)];
    for error in left.into_iter().filter_map(Result::err) {
        journal.say(MessageKind::Ignored, &format!("updates can be judged less well: {error}"), &[]);
    }
}
