//! The initramfs of the next boot and the policy in it, and what the initramfs would say today.

use std::collections::BTreeSet;

use ostree_seal_trust::policy::{
    KeyFile, OnRefusal, PolicyFiles, SealedPolicy, SkippedKey, SkippedKeyReason,
};

use super::finding::Finding;
use super::subject::Subject;
use crate::beneath::Below;
use crate::initrd::content::{Initramfs, PROGRAM};
use crate::initrd::policy::{self, Bootable, Trust};
use crate::merkle;
use crate::status::Verdict;

const INITRAMFS: &str = "initramfs";
const PROGRAM_CHECK: &str = "program";
const STARTED: &str = "program-started";
const POLICY: &str = "policy";
const CURRENT: &str = "policy-current";
const KEYS: &str = "keys";
const SHELL: &str = "shell";
const NEXT_BOOT: &str = "next-boot";

/// The most bytes of the program, with room for one that was built for debugging.
const PROGRAM_MAX: usize = 64 << 20;

/// Everything about the next boot.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = vec![next_boot(subject)];
    if let Some(ambiguity) = &subject.status.ambiguity {
        let fix = "remove each that doesn't belong there";
        findings.push(Finding::problem(INITRAMFS, ambiguity.as_str(), fix));
    }
    match policy::of_deployment(&subject.next.directory, subject.bootable) {
        Ok(Trust::Foreign) => findings.push(Finding::problem(
            POLICY,
            "the next deployment has no policy, so it boots without any check",
            "in the OS build: put policy.conf and trusted.d/*.vkey into /usr/lib/ostree-seal, then make the initramfs again",
        )),
        Ok(Trust::Unsealed(origin)) => {
            let sentence = format!("{} says `mode = unsealed`: nothing is checked", origin.path().display());
            findings.push(Finding::warning(POLICY, sentence, "in the OS build: `mode = sealed`"));
            findings.extend(initramfs(subject));
        }
        Ok(Trust::Sealed { policy, .. }) => {
            findings.extend(policy_findings(&policy));
            findings.extend(initramfs(subject));
        }
        Err(error) => {
            findings.push(Finding::of_error(POLICY, &error, subject.make_initramfs()));
            findings.extend(initramfs(subject));
        }
    }
    findings
}

/// What the initramfs would say of the deployment as it is now.
fn next_boot(subject: &Subject<'_>) -> Finding {
    let next = subject.next;
    let name = format!(
        "deployment {} ({} {})",
        next.index,
        next.version.as_deref().unwrap_or("no version"),
        next.commit.get(..12).unwrap_or(&next.commit)
    );
    let deploy = subject.sysroot.deploy_command(next.index);
    match &subject.status.verdict {
        Verdict::Sealed(claim) => {
            let keys: Vec<_> = claim.signers.iter().map(ToString::to_string).collect();
            Finding::fine(NEXT_BOOT, format!("{name} boots sealed, signed by {}", keys.join(" and ")))
        }
        Verdict::Refused(reason) => {
            Finding::problem(NEXT_BOOT, format!("{name} would be refused: {reason}"), deploy)
        }
        Verdict::Deferred => Finding::problem(
            NEXT_BOOT,
            format!("{name} would be refused: its fs-verity is still to be enabled"),
            deploy,
        ),
        Verdict::Unknown(reason) => {
            Finding::not_checked(NEXT_BOOT, format!("{name}: {reason}"), "run `ostree-seal doctor` as root")
        }
        Verdict::Unsealed | Verdict::Foreign => {
            Finding::warning(NEXT_BOOT, format!("{name} boots without any check"), "see `policy`")
        }
    }
}

/// What the policy says, and which of its keys don't count.
fn policy_findings(policy: &SealedPolicy) -> Vec<Finding> {
    let product = policy.product().map_or_else(|| "any product".to_owned(), ToString::to_string);
    let trusted = policy.trusted().len();
    let sentence = format!(
        "{}: sealed, {product}, index {} or higher, {} of {trusted} keys must sign",
        policy.path(),
        policy.minimum_index(),
        policy.threshold(),
    );
    let skipped = policy.skipped().iter().map(|key| {
        let fix = format!("in the OS build: {}, then make the initramfs again", key_fix(key));
        Finding::warning(KEYS, format!("{key}; it doesn't count"), fix)
    });
    [Finding::fine(POLICY, sentence), shell(policy.on_refusal())].into_iter().chain(skipped).collect()
}

/// What somebody at the console gets who has made the check fail.
fn shell(on_refusal: OnRefusal) -> Finding {
    match on_refusal {
        OnRefusal::Halt | OnRefusal::Reboot => {
            Finding::fine(SHELL, format!("a refusal gives nobody a shell: `on-refusal = {on_refusal}`"))
        }
        OnRefusal::Emergency => Finding::warning(
            SHELL,
            "a refusal may give a root shell in the initramfs, to anyone at the console: `on-refusal = emergency`",
            "in the OS build: `on-refusal = halt` or `reboot` in policy.conf, then make the initramfs again",
        ),
    }
}

fn key_fix(key: &SkippedKey) -> String {
    let name = key.path.rsplit('/').next().unwrap_or_default();
    match key.reason {
        SkippedKeyReason::Revoked(_) => format!("rm trusted.d/{name}, since its key is in revoked.d"),
        SkippedKeyReason::Name => format!("mv trusted.d/{name} trusted.d/{name}.vkey, if it is a key"),
        _ => format!("replace trusted.d/{name} by what `ostree-seal keygen` wrote"),
    }
}

fn initramfs(subject: &Subject<'_>) -> Vec<Finding> {
    match subject.bootable {
        Bootable::None => vec![Finding::problem(
            INITRAMFS,
            "the next deployment has no initramfs, neither in its boot entry nor in its tree nor in a unified kernel image",
            subject.make_initramfs(),
        )],
        Bootable::Unreadable(_, error) => vec![Finding::of_error(INITRAMFS, error, subject.make_initramfs())],
        Bootable::Read(path, initramfs) => vec![
            Finding::fine(INITRAMFS, format!("{} can be read", path.display())),
            program(subject, path, initramfs),
            started(subject, path, initramfs),
            current(subject, path, initramfs),
        ],
    }
}

/// Whether the program is there, and is the one that is installed.
fn program(subject: &Subject<'_>, path: &std::path::Path, initramfs: &Initramfs) -> Finding {
    let fix = subject.make_initramfs();
    let Some(program) = &initramfs.program else {
        let sentence = format!("{} holds no {PROGRAM}", path.display());
        return Finding::problem(PROGRAM_CHECK, sentence, fix);
    };
    let installed = Below::new(&subject.next.directory, "usr/lib/ostree-seal").join(PROGRAM);
    match installed.read_if_there(PROGRAM_MAX) {
        Ok(Some(content)) if merkle::digest(&content) == program.digest => {
            Finding::fine(PROGRAM_CHECK, format!("the initramfs has the {PROGRAM} of its tree"))
        }
        Ok(Some(_)) => {
            let sentence =
                format!("{} has another {PROGRAM} than its tree, an older one perhaps", path.display());
            Finding::warning(PROGRAM_CHECK, sentence, fix)
        }
        Ok(None) => {
            Finding::fine(PROGRAM_CHECK, format!("the initramfs has {PROGRAM}, its tree has none to compare"))
        }
        Err(error) => Finding::of_error(PROGRAM_CHECK, &error, fix),
    }
}

/// Whether the program is started, and nothing else that sets up the root beside it.
fn started(subject: &Subject<'_>, path: &std::path::Path, initramfs: &Initramfs) -> Finding {
    let fix = subject.make_initramfs();
    if initramfs.program.is_some() && !initramfs.starts_program() {
        let sentence = format!("nothing in {} starts {PROGRAM}", path.display());
        return Finding::problem(STARTED, sentence, fix);
    }
    if initramfs.starts_prepare_root() {
        let sentence = format!("{} starts ostree-prepare-root, which checks nothing of this", path.display());
        return Finding::problem(STARTED, sentence, fix);
    }
    Finding::fine(STARTED, format!("the initramfs starts {PROGRAM} and no ostree-prepare-root"))
}

/// Whether policy and keys are those of the tree.
fn current(subject: &Subject<'_>, path: &std::path::Path, initramfs: &Initramfs) -> Finding {
    let fix = subject.make_initramfs();
    let tree = match policy::tree_policy(&subject.next.directory) {
        Ok(Some(tree)) => tree,
        Ok(None) if !initramfs.has_policy() => {
            return Finding::fine(CURRENT, "neither initramfs nor tree has a policy");
        }
        Ok(None) => return Finding::fine(CURRENT, "the policy is in the initramfs only"),
        Err(refusal) => return Finding::of_error(CURRENT, &refusal.into(), fix),
    };
    let differing = match policy::of_initramfs(path, initramfs) {
        Ok(inside) => differences(&tree, &inside),
        Err(refusal) => return Finding::of_error(CURRENT, &refusal.into(), fix),
    };
    if differing.is_empty() {
        return Finding::fine(CURRENT, "policy and keys in the initramfs are those of the tree");
    }
    let sentence =
        format!("{} in {} differ from the tree; the initramfs decides", differing.join(", "), path.display());
    Finding::problem(CURRENT, sentence, fix)
}

fn differences(tree: &PolicyFiles, inside: &PolicyFiles) -> Vec<&'static str> {
    let same = [
        ("policy.conf", tree.conf == inside.conf),
        ("trusted.d", contents(&tree.trusted) == contents(&inside.trusted)),
        ("revoked.d", contents(&tree.revoked) == contents(&inside.revoked)),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

fn contents(keys: &[KeyFile]) -> BTreeSet<&[u8]> {
    keys.iter().filter_map(|key| key.content.as_deref().ok()).collect()
}
