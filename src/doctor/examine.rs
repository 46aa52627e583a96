//! The checks, one after the other.

use super::finding::Finding;
use super::kernel::Kernel;
use super::subject::Subject;
use super::{boot, disk, kernel, update};
use crate::initrd::bootable;
use crate::status;
use crate::sysroot::{Deployment, Sysroot};

/// Looks at everything, in the order in which it matters for the next boot.
pub fn examine(system: &Sysroot) -> anyhow::Result<Vec<Finding>> {
    let Some(next) = next_deployment(system)? else {
        let fix = system.admin_command("deploy", "REF");
        return Ok(vec![Finding::problem("next-boot", "there is no deployment to boot", fix)]);
    };
    let candidates = bootable::of(system, &next);
    let status = status::of(system, next.clone(), &candidates);
    let kernel = Kernel::of(&next.directory, system.is_booted());
    let release = kernel.as_ref().map(|kernel| kernel.release.clone());
    let bootable = candidates.first();
    let subject = Subject { sysroot: system, next: &next, bootable, status: &status, release };
    let mut findings = kernel::check(kernel.as_ref(), &subject);
    findings.extend(disk::check(&subject));
    findings.extend(boot::check(&subject));
    findings.extend(update::check(&subject));
    Ok(findings)
}

/// The deployment that boots next, as `status` has it. Only if one is staged is it not the first for sure.
fn next_deployment(system: &Sysroot) -> anyhow::Result<Option<Deployment>> {
    let mut deployments = system.deployments()?;
    if !deployments.first().is_some_and(|first| first.staged) {
        return Ok(deployments.into_iter().next());
    }
    let next = status::next_boot(&status::all(system)?).index();
    Ok(next.filter(|index| *index < deployments.len()).map(|index| deployments.swap_remove(index)))
}
