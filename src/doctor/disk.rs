//! The repository and the file system that holds it.

use anyhow::Context as _;
use rustix::fs::{Mode, OFlags};

use super::finding::Finding;
use super::subject::Subject;
use crate::deploy::filesystem::{self, ask_verity, mount_of};
use crate::deploy::verity::Coverage;
use crate::repo::Source;
use crate::status::Verdict;

const SPACE: &str = "space";
const VERITY: &str = "fs-verity";
const OBJECTS: &str = "objects";

/// Everything about the disk.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = vec![repository(subject), verity(subject)];
    let unchecked = matches!(subject.status.verdict, Verdict::Unsealed | Verdict::Foreign);
    if !unchecked {
        findings.push(objects(subject));
    }
    findings.push(space(subject));
    findings
}

fn repository(subject: &Subject<'_>) -> Finding {
    const CHECK: &str = "repository";
    let path = subject.sysroot.repository();
    let fix = format!("ostree fsck --repo={}", path.display());
    match Source::open(&path) {
        Err(error) => Finding::of_error(CHECK, &error, fix),
        Ok(source) if source.mode().can_back_a_mount() => Finding::fine(
            CHECK,
            format!("repository of mode {}: a mount can use its files", source.mode().name()),
        ),
        Ok(source) => Finding::problem(
            CHECK,
            format!(
                "{} is of mode {}, and a mount can't use its files",
                path.display(),
                source.mode().name()
            ),
            "pull into a repository of mode bare: ostree pull-local",
        ),
    }
}

fn verity(subject: &Subject<'_>) -> Finding {
    let repository = subject.sysroot.repository();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&repository, flags, Mode::empty())
        .with_context(|| format!("opening {}", repository.display()));
    let directory = match opened {
        Ok(directory) => directory,
        Err(error) => return Finding::of_error(VERITY, &error, "ostree admin init-fs --modern SYSROOT"),
    };
    let place = mount_of(&directory)
        .map_or_else(|| "the file system".to_owned(), |mount| format!("{} on {}", mount.kind, mount.source));
    match ask_verity(&directory, "config") {
        Ok(()) => Finding::fine(VERITY, format!("{place}: has fs-verity")),
        // A kernel that isn't the one that will boot can't tell.
        Err(error) if error.is_of_kernel() && !subject.sysroot.is_booted() => Finding::not_checked(
            VERITY,
            format!("{place}: whether it has fs-verity, since the kernel of this machine has none"),
            "run `ostree-seal doctor` on the device",
        ),
        Err(error) if error.is_no_permission() => {
            Finding::not_checked(VERITY, error.problem(), "run `ostree-seal doctor` as root")
        }
        Err(error) => Finding::problem(VERITY, error.problem(), error.remedy()),
    }
}

fn objects(subject: &Subject<'_>) -> Finding {
    let deploy = subject.sysroot.deploy_command(subject.next.index);
    let Some(coverage) = subject.status.coverage else {
        let sentence = "the objects of the next deployment can't be counted without an image of it";
        return Finding::not_checked(OBJECTS, sentence, deploy);
    };
    let Coverage { without, missing, .. } = coverage;
    let all = coverage.all();
    match (missing, without) {
        (0, 0) => Finding::fine(OBJECTS, format!("all {all} objects of the next deployment have fs-verity")),
        (0, _) => Finding::problem(
            OBJECTS,
            format!(
                "{without} of the next deployment's {all} objects have no fs-verity, so they can't be read"
            ),
            deploy,
        ),
        _ => Finding::problem(
            OBJECTS,
            format!("{missing} of the next deployment's {all} objects are missing"),
            format!(
                "ostree fsck --delete --repo={}; then pull the commit again",
                subject.sysroot.repository().display()
            ),
        ),
    }
}

/// Room for an image of the next update beside this one, and for the Merkle trees that are still to be written.
fn space(subject: &Subject<'_>) -> Finding {
    let stat = match rustix::fs::statvfs(subject.sysroot.repository()) {
        Ok(stat) => stat,
        Err(errno) => {
            let error = anyhow::Error::new(errno).context("asking for free space");
            return Finding::of_error(SPACE, &error, "df -h");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = filesystem::room_needed(&subject.next.directory, subject.status.coverage);
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let sentence = format!("{} MiB free, {} MiB needed", mib(free), mib(needed));
    if free >= needed {
        Finding::fine(SPACE, sentence)
    } else {
        Finding::problem(
            SPACE,
            sentence,
            format!(
                "{}, for a deployment that is not needed",
                subject.sysroot.admin_command("undeploy", "INDEX")
            ),
        )
    }
}
