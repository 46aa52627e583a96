//! What was computed against what the image promises.

use super::targets::Targets;
use crate::ext4::examine::{Examined, Verity};
use crate::refused::Refused;

/// How many files are named; more are counted.
const NAMED: usize = 5;

/// Refuses where a file isn't what the image was made for, or has an fs-verity that isn't its own. A damaged file must not
/// become one that the kernel vouches for.
pub fn require(files: &[Examined], targets: &Targets) -> Result<(), Refused> {
    let problems: Vec<String> = files.iter().flat_map(|file| problems(file, targets)).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(NAMED);
    let named = problems.into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let what_next = "make the image again from a repository that `ostree fsck` finds complete";
    Err(Refused(format!("{named}{more}; nothing was written; {what_next}")))
}

/// What is wrong with a file.
fn problems(file: &Examined, targets: &Targets) -> Vec<String> {
    let Some(target) = targets.files.get(&file.inode) else { return Vec::new() };
    let path = &target.path;
    let wrong = target.expected.iter().filter(|(digest, _)| *digest != file.digest);
    let differs = wrong.map(|(digest, says)| {
        format!("{path} has the fs-verity digest {}, {says} expects {digest}", file.digest)
    });
    let tree = (file.verity == Verity::Wrong)
        .then(|| format!("{path} has fs-verity already, with a tree that is not that of its content"));
    differs.chain(tree).collect()
}
