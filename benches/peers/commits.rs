//! The commits that are measured: pseudo-random, shaped like an operating system, and the same on every machine.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use rustix::fs::XattrFlags;

use crate::rng::Rng;

/// How a commit is made.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// Regular files.
    pub(crate) files: usize,
    /// Sizes are log-normal: half of the files are smaller than this.
    median: f64,
    /// Deviation of the sizes' logarithm.
    sigma: f64,
}

/// With a median of 4 KiB and a mean of 40 KiB, files are as in `/usr` of a desktop system.
pub(crate) const SETS: [Set; 3] = [
    Set { name: "10k", files: 10_000, median: 4096.0, sigma: 2.146 },
    Set { name: "130k", files: 130_000, median: 4096.0, sigma: 2.146 },
    // Sizes don't matter for what this one shows, growth with the number of files, and 40 GB are too many.
    Set { name: "1m", files: 1_000_000, median: 1024.0, sigma: 1.5 },
];

/// Nobody's operating system has larger files in quantity, and one of them would decide the total.
const SIZE_MAX: f64 = 64.0 * 1024.0 * 1024.0;
/// Files for each directory, on average.
const FILES_PER_DIRECTORY: usize = 13;
/// One in so many files has the content of an earlier one.
const DUPLICATE: usize = 33;
/// One in so many names is a symlink.
const SYMLINK: usize = 12;
/// One in so many files differs in the update.
const CHANGED: usize = 100;
/// How many different labels there are.
const LABELS: usize = 24;

/// A bare repository with the commit `base` and, after an update of 1 % of its files, `update`.
#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) set: &'static Set,
    pub(crate) path: PathBuf,
    /// Where programs may write.
    pub(crate) work: PathBuf,
}

impl Repo {
    /// Makes the repository, unless an earlier run did.
    pub(crate) fn make(set: &'static Set, directory: &Path) -> anyhow::Result<Self> {
        let place = directory.join(set.name);
        let repo = Self { set, path: place.join("repo"), work: place.join("work") };
        let complete = place.join("complete-2");
        if !complete.exists() {
            eprintln!("making the commit {} in {}", set.name, place.display());
            if place.exists() {
                fs::remove_dir_all(&place)?;
            }
            fs::create_dir_all(&repo.work)?;
            repo.commit(&place)?;
            fs::write(&complete, "")?;
        }
        Ok(repo)
    }

    fn commit(&self, place: &Path) -> anyhow::Result<()> {
        self.ostree(&["init", "--mode=bare"])?;
        self.ostree(&["config", "set", "core.fsync", "false"])?;
        let base = place.join("base");
        let update = place.join("update");
        write_trees(self.set, &base, &update).context("writing files")?;
        let tree = format!("--tree=dir={}", base.display());
        self.ostree(&["commit", "--branch=base", "--timestamp=@1", "--consume", &tree])?;
        let tree = format!("--tree=dir={}", update.display());
        self.ostree(&["commit", "--branch=update", "--timestamp=@2", "--consume", "--tree=ref=base", &tree])?;
        for directory in [base, update] {
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
        }
        Ok(())
    }

    fn ostree(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let repo = format!("--repo={}", self.path.display());
        let status = Command::new("ostree")
            .arg(repo)
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .status()
            .context("running ostree")?;
        ensure!(status.success(), "ostree {} ended with {status}", arguments.join(" "));
        Ok(())
    }
}

/// What makes a file's content.
#[derive(Clone, Copy)]
struct Recipe {
    seed: u64,
    size: usize,
}

/// Writes a whole tree, and one with the files alone that differ after an update.
fn write_trees(set: &Set, base: &Path, update: &Path) -> anyhow::Result<()> {
    let mut rng = Rng(set.files as u64);
    let directories = directories(set.files / FILES_PER_DIRECTORY, &mut rng);
    for directory in &directories {
        fs::create_dir_all(base.join(directory))?;
    }
    let mut recipes: Vec<Recipe> = Vec::with_capacity(set.files);
    let mut buffer = Vec::new();
    for number in 0..set.files {
        let directory = &directories[rng.below(directories.len())];
        let recipe = match rng.below(DUPLICATE) {
            0 if number > 0 => recipes[rng.below(number)],
            _ => Recipe { seed: rng.next(), size: size(set, &mut rng) },
        };
        recipes.push(recipe);
        let label = rng.below(LABELS);
        let name = directory.join(file_name(number, &mut rng));
        write_file(&base.join(&name), recipe, label, &mut buffer)?;
        if rng.below(SYMLINK) == 0 {
            symlink(
                name.file_name().context("a name")?,
                base.join(directory).join(format!("link-{number}")),
            )?;
        }
        if number % CHANGED == 0 {
            fs::create_dir_all(update.join(directory))?;
            let changed = Recipe { seed: recipe.seed + 1, size: recipe.size };
            write_file(&update.join(&name), changed, label, &mut buffer)?;
        }
    }
    Ok(())
}

/// Paths of directories: each lies in an earlier one, at most 8 deep.
fn directories(count: usize, rng: &mut Rng) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        ["usr", "usr/lib", "usr/share", "usr/bin", "usr/etc"].map(PathBuf::from).into();
    while paths.len() < count {
        let parent = &paths[rng.below(paths.len())];
        if parent.components().count() < 8 {
            paths.push(parent.join(format!("{}-{}", word(rng), paths.len())));
        }
    }
    paths
}

fn file_name(number: usize, rng: &mut Rng) -> String {
    const EXTENSIONS: [&str; 8] = ["", ".so", ".py", ".h", ".png", ".mo", ".conf", ".html"];
    format!("{}{number}{}", word(rng), EXTENSIONS[rng.below(EXTENSIONS.len())])
}

fn word(rng: &mut Rng) -> String {
    (0..3 + rng.below(10)).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz"[rng.below(26)])).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to SIZE_MAX")]
fn size(set: &Set, rng: &mut Rng) -> usize {
    rng.log_normal(set.median, set.sigma).min(SIZE_MAX) as usize
}

fn write_file(path: &Path, recipe: Recipe, label: usize, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.resize(recipe.size, 0);
    Rng(recipe.seed).fill(buffer);
    let mut file = fs::File::create(path).with_context(|| format!("creating {}", path.display()))?;
    file.write_all(buffer)?;
    let label = format!("system_u:object_r:bench{label}_t:s0\0");
    rustix::fs::fsetxattr(&file, "security.selinux", label.as_bytes(), XattrFlags::empty())
        .context("setting the xattr security.selinux: the benchmark runs as root")?;
    Ok(())
}
