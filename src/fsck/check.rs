//! The check: each object once, however many deployments need it; and the repair from another repository.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use super::damage::{Damage, Report, Summary};
use super::subject::FsckTarget;
use crate::repo::{Fault, Source, Verify, Wanted};

/// How to check.
pub struct CheckOptions<'a> {
    /// Threads.
    pub threads: NonZeroUsize,
    /// Whether contents are read, and compared with the names of their objects.
    pub content: bool,
    /// Where whole objects are, if damaged ones are to be replaced.
    pub from: Option<&'a Source>,
    /// Called from any thread after each object; the number is of all objects.
    pub progress: &'a (dyn Fn(usize) + Sync),
}

/// Checks the objects that the subjects need.
pub fn check(source: &Source, subjects: &[FsckTarget], how: &CheckOptions<'_>) -> Report {
    let wanted: BTreeSet<Wanted> = subjects.iter().flat_map(FsckTarget::wanted).collect();
    let wanted: Vec<Wanted> = wanted.into_iter().collect();
    let progress = || (how.progress)(wanted.len());
    let verify = Verify { threads: how.threads, content: how.content, progress: &progress };
    let faults = source.verify(&wanted, &verify);
    let mut summary = Summary { objects: wanted.len(), ..Summary::default() };
    let mut damage = Vec::new();
    for (place, fault) in faults {
        if fault.is_damage() {
            let object = wanted[place].object;
            let repair = how.from.map(|from| repair(source, from, &wanted[place], how));
            summary.repaired += usize::from(repair == Some(Ok(())));
            damage.push(Damage { object, fault, paths: BTreeMap::new(), repair });
        } else {
            summary.without_verity += 1;
        }
    }
    name_paths(&mut damage, subjects);
    let problems = |subject: &FsckTarget| -> Vec<(String, String)> {
        subject.problems.iter().map(|problem| (subject.name.clone(), problem.clone())).collect()
    };
    Report { images: subjects.iter().flat_map(problems).collect(), damage, summary }
}

/// Replaces an object, and checks it again.
fn repair(source: &Source, from: &Source, wanted: &Wanted, how: &CheckOptions<'_>) -> Result<(), String> {
    source.replace_file(&wanted.object, wanted.digest, from).map_err(|error| format!("{error:#}"))?;
    let verify = Verify { threads: NonZeroUsize::MIN, content: how.content, progress: &|| () };
    match source.verify(std::slice::from_ref(wanted), &verify).pop() {
        None | Some((_, Fault::NoVerity)) => Ok(()),
        Some((_, fault)) => Err(format!("it was replaced, but {fault}")),
    }
}

fn name_paths(damage: &mut [Damage], subjects: &[FsckTarget]) {
    let objects: BTreeSet<_> = damage.iter().map(|damage| damage.object).collect();
    if objects.is_empty() {
        return;
    }
    for subject in subjects {
        for (object, path) in subject.paths(&objects) {
            for damage in damage.iter_mut().filter(|damage| damage.object == object) {
                damage.paths.entry(subject.name.clone()).or_default().push(path.clone());
            }
        }
    }
    for damage in damage {
        damage.paths.values_mut().for_each(|paths| paths.sort());
    }
}

impl std::fmt::Debug for CheckOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("content", &self.content).finish_non_exhaustive()
    }
}
