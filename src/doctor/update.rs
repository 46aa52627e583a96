//! What sees to it that the next update is sealed before it boots, and what became of the last one.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::subject::Subject;
use crate::deploy::record::{self, Fate, Record};
use crate::sysroot::running::Running;

const UNITS: &str = "units";
const STAGED: &str = "staged";
const RUNNING: &str = "running";

/// The unit that seals a staged deployment at once.
const WATCH: &str = "ostree-seal-deploy.path";
/// What keeps libostree's unit from making one the default at shutdown that was not sealed.
const GATE: &str = "ostree-finalize-staged.service.d/50-ostree-seal.conf";

/// Everything about updates.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = vec![units(subject)];
    if subject.sysroot.is_booted() {
        findings.push(last_staged(record::last_record()));
        findings.push(running_system(subject.sysroot.running()));
    }
    findings
}

/// How a unit is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Enabled,
    Disabled,
    Masked,
    Missing,
}

fn units(subject: &Subject<'_>) -> Finding {
    let booted = subject.sysroot.is_booted();
    let root = if booted { subject.sysroot.path() } else { subject.next.directory.as_path() };
    if !root.join("usr/lib/systemd/system").is_dir() {
        let sentence = "there is no systemd to seal a staged deployment by itself";
        return Finding::warning(
            UNITS,
            sentence,
            format!("{}, after each update", subject.sysroot.deploy_command(0)),
        );
    }
    let systemctl =
        if booted { "systemctl".to_owned() } else { format!("systemctl --root={}", root.display()) };
    let install = "in the OS build: make install, of ostree-seal".to_owned();
    let now = if booted { "--now " } else { "" };
    let (what, fix) = match (unit(root, WATCH), unit(root, GATE)) {
        (_, Unit::Missing) => (format!("{GATE} is not installed"), install),
        (_, Unit::Masked) => (format!("{GATE} is masked"), format!("rm /etc/systemd/system/{GATE}")),
        (Unit::Missing, _) => (format!("{WATCH} is not installed"), install),
        (Unit::Masked, _) => (format!("{WATCH} is masked"), format!("{systemctl} unmask {WATCH}")),
        (Unit::Disabled, _) => {
            (format!("{WATCH} is not enabled"), format!("{systemctl} enable {now}{WATCH}"))
        }
        (Unit::Enabled, _) => {
            return Finding::fine(
                UNITS,
                "a staged deployment is sealed at once, and none becomes the default before",
            );
        }
    };
    Finding::problem(
        UNITS,
        format!("{what}: a staged deployment may become the default without being sealed"),
        fix,
    )
}

fn unit(root: &Path, name: &str) -> Unit {
    let system = root.join("usr/lib/systemd/system");
    let etc = ["etc", "usr/etc"].into_iter().map(|etc| root.join(etc)).find(|etc| etc.exists());
    let admin = etc.map(|etc| etc.join("systemd/system"));
    let places: Vec<&PathBuf> = admin.iter().chain([&system]).collect();
    let is_link_to_null =
        |path: PathBuf| std::fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
    let exists = |path: PathBuf| path.symlink_metadata().is_ok();
    if places.iter().any(|place| is_link_to_null(place.join(name))) {
        Unit::Masked
    } else if !places.iter().any(|place| exists(place.join(name))) {
        Unit::Missing
    } else if places.iter().any(|place| exists(place.join("multi-user.target.wants").join(name))) {
        Unit::Enabled
    } else {
        Unit::Disabled
    }
}

fn last_staged(record: anyhow::Result<Option<Record>>) -> Finding {
    match record {
        Err(error) => Finding::of_error(
            STAGED,
            &error,
            "rm /run/ostree-seal/staged.json /var/lib/ostree-seal/staged.json",
        ),
        Ok(None) => Finding::fine(STAGED, "the latest staged deployment was not turned down"),
        Ok(Some(record)) => {
            let name = record.version.as_deref().unwrap_or(&record.commit);
            let (fate, fix) = match record.fate {
                Fate::Withdrawn => ("withdrawn", "ostree admin upgrade, once the release is mended"),
                Fate::HeldBack => ("held back", "ostree-seal deploy --pending"),
                Fate::Dropped => ("held back until the reboot, and dropped", "ostree admin upgrade"),
                Fate::PutBehind => {
                    ("put behind the running one", "ostree admin upgrade, once the release is mended")
                }
                Fate::StaysAhead => (
                    "not let through, and may boot next all the same",
                    "ostree admin set-default NUMBER, of the running one",
                ),
            };
            Finding::problem(STAGED, format!("the deployment {name} was {fate}: {}", record.reason), fix)
        }
    }
}

fn running_system(state: anyhow::Result<Option<Running>>) -> Finding {
    match state {
        Err(error) => Finding::of_error(RUNNING, &error, "reboot"),
        Ok(Some(Running { differs: Some(reason), .. })) => Finding::problem(
            RUNNING,
            format!("the running system is not sealed by us: {reason}"),
            "reboot, all the way through the firmware",
        ),
        Ok(Some(state)) if state.is_sealed() => Finding::fine(RUNNING, "the running system is sealed"),
        Ok(_) => Finding::warning(
            RUNNING,
            "the running system is not sealed",
            "reboot, once the next boot is sealed",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Running, last_staged, running_system};
    use crate::deploy::record::{Fate, Record};
    use crate::doctor::Health;

    fn record(fate: Fate) -> Record {
        Record { fate, commit: "c".repeat(64), version: Some("42".to_owned()), reason: "no note".to_owned() }
    }

    #[test]
    fn a_staged_deployment_that_was_turned_down_is_a_problem() {
        for (fate, word, fix) in [
            (Fate::Withdrawn, "withdrawn", "upgrade"),
            (Fate::HeldBack, "held back", "deploy --pending"),
            (Fate::Dropped, "held back until the reboot, and dropped", "upgrade"),
        ] {
            let finding = last_staged(Ok(Some(record(fate))));
            assert_eq!(finding.state, Health::Problem);
            assert!(finding.sentence.contains(&format!("42 was {word}: no note")), "{}", finding.sentence);
            assert!(finding.fix.unwrap().contains(fix));
        }
        assert_eq!(last_staged(Ok(None)).state, Health::Fine);
        assert_eq!(last_staged(Err(anyhow::anyhow!("expected value"))).state, Health::Problem);
    }

    #[test]
    fn a_running_system_that_is_not_sealed_is_a_warning() {
        let state = |mode: &str| {
            let text = format!(
                r#"{{"mode":"{mode}","digest":null,"commit":null,"product":null,"index":null,"evidence":null}}"#
            );
            running_system(Ok(Some(serde_json::from_str(&text).unwrap()))).state
        };
        assert_eq!((state("sealed"), state("unsealed")), (Health::Fine, Health::Warning));
        let mut other: Running = serde_json::from_str(r#"{"mode":"sealed"}"#).unwrap();
        other.differs = Some("/ is ext4 without verity=require".to_owned());
        let finding = running_system(Ok(Some(other)));
        assert_eq!(finding.state, Health::Problem);
        assert!(finding.sentence.contains("not sealed by us: / is ext4"), "{}", finding.sentence);
        assert_eq!(running_system(Ok(None)).state, Health::Warning);
    }

    #[test]
    fn what_may_not_be_read_is_not_checked() {
        let error = anyhow::Error::new(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert_eq!(last_staged(Err(error)).state, Health::NotChecked);
    }
}
