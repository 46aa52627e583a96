//! The files that need fs-verity: the objects that each deployment's image names, the image itself, and what else is asked
//! for. Each has the digests that the image was made for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use ostree_seal_root::find::deployment::{IMAGE_NAME, OBJECTS};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::NOTE_FILE;
use ostree_seal_trust::note::{NOTE_MAX, Note};

use crate::erofs;
use crate::ext4::FileSystem;
use crate::ext4::file_system::ROOT;
use crate::ext4::inode::{FileType, Inode};
use crate::glob::PathPattern;
use crate::refused::Refused;

/// The most bytes of a composefs image: several times what the largest systems have.
const IMAGE_MAX: u64 = 1 << 30;
/// The most directories that `--also` goes through.
const DIRECTORIES_MAX: usize = 1 << 22;

/// A deployment in an image.
#[derive(Debug, Clone)]
pub struct ImageDeployment {
    /// Path below the system's root: `ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL`.
    pub path: String,
    /// Its directory.
    pub inode: u32,
    /// The inode of its composefs image, if it has one.
    pub image: Option<u32>,
    /// The inodes of the objects that its image names.
    pub objects: BTreeSet<u32>,
}

/// A file that needs fs-verity.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Its path in the file system; one of them, if it has several.
    pub path: String,
    /// The digests that it must have, and what says so.
    pub expected: Vec<(Digest, Arc<str>)>,
}

/// What was found in an image.
#[derive(Debug, Default)]
pub struct Targets {
    /// The inode of the system's root directory.
    pub root: u32,
    /// All deployments, by their paths.
    pub deployments: Vec<ImageDeployment>,
    /// The files, by their inode numbers.
    pub files: BTreeMap<u32, Target>,
}

/// Finds the files that need fs-verity, below the directory `sysroot` of the file system; and those whose path matches.
pub fn find(system: &FileSystem<'_>, sysroot: &str, also: &[PathPattern]) -> Result<Targets> {
    let root = directory(system, ROOT, sysroot)?
        .with_context(|| format!("there is no directory {sysroot:?} in the image"))?;
    let Some(objects) = directory(system, root.number(), OBJECTS)? else {
        bail!(
            "there is no {OBJECTS} in the ext4 file system below {sysroot:?}; choose the partition with --partition, the \
             directory with --sysroot"
        );
    };
    let mut search = Search {
        system,
        prefix: prefix(sysroot),
        objects: Objects { system, root: objects, directory: Vec::new(), names: HashMap::new() },
        found: Targets { root: root.number(), ..Targets::default() },
    };
    for (path, inode) in deployments(system, &root)? {
        search.deployment(path, &inode)?;
    }
    if search.found.files.is_empty() && also.is_empty() {
        bail!(
            "no deployment in the image has an {IMAGE_NAME}; run `ostree-seal deploy --sysroot=DIR --defer-verity` on the \
             directory that the image is made of, then make the image again"
        );
    }
    if !also.is_empty() {
        search.also(&root, also)?;
    }
    Ok(search.found)
}

/// Whether a file system holds a repository below the directory `sysroot`.
pub fn has_repository(system: &FileSystem<'_>, sysroot: &str) -> Result<bool> {
    let Some(root) = directory(system, ROOT, sysroot)? else { return Ok(false) };
    Ok(directory(system, root.number(), OBJECTS)?.is_some())
}

/// What stands before the paths of a system that isn't at the root.
fn prefix(sysroot: &str) -> String {
    let trimmed = sysroot.trim_matches('/');
    if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") }
}

fn directory(system: &FileSystem<'_>, from: u32, path: &str) -> Result<Option<Inode>> {
    let found = system.lookup_from(from, path.as_bytes())?;
    Ok(found.filter(|inode| inode.kind() == FileType::Directory))
}

/// The directories `ostree/deploy/*/deploy/*`.
fn deployments(system: &FileSystem<'_>, root: &Inode) -> Result<Vec<(String, Inode)>> {
    let mut found = Vec::new();
    let Some(stateroots) = directory(system, root.number(), "ostree/deploy")? else { return Ok(found) };
    for stateroot in system.entries(&stateroots)? {
        let Ok(name) = String::from_utf8(stateroot.name) else { continue };
        if system.inode(stateroot.inode)?.kind() != FileType::Directory {
            continue;
        }
        let Some(deploy) = directory(system, stateroot.inode, "deploy")? else { continue };
        for entry in system.entries(&deploy)? {
            let inode = system.inode(entry.inode)?;
            if let (FileType::Directory, Ok(serial)) = (inode.kind(), String::from_utf8(entry.name)) {
                found.push((format!("ostree/deploy/{name}/deploy/{serial}"), inode));
            }
        }
    }
    Ok(found)
}

struct Search<'a> {
    system: &'a FileSystem<'a>,
    prefix: String,
    objects: Objects<'a>,
    found: Targets,
}

impl Search<'_> {
    fn deployment(&mut self, path: String, directory: &Inode) -> Result<()> {
        let image = self.system.lookup_from(directory.number(), IMAGE_NAME.as_bytes())?;
        let image = image.filter(|inode| inode.kind() == FileType::File);
        let mut deployment = ImageDeployment {
            path,
            inode: directory.number(),
            image: image.as_ref().map(Inode::number),
            objects: BTreeSet::new(),
        };
        if let Some(image) = image {
            let name = format!("{}/{}/{IMAGE_NAME}", self.prefix, deployment.path);
            self.image(&image, &name, &mut deployment)
                .with_context(|| format!("reading {name} in the image"))?;
            self.note(directory, image.number())?;
        }
        self.found.deployments.push(deployment);
        Ok(())
    }

    fn image(&mut self, image: &Inode, name: &str, deployment: &mut ImageDeployment) -> Result<()> {
        self.target(image.number(), name.to_owned(), None);
        let bytes = self.system.read(image, IMAGE_MAX)?;
        let name: Arc<str> = name.into();
        let mut backings = erofs::backings(&bytes)?;
        backings.sort_unstable();
        backings.dedup();
        for backing in backings {
            let object = String::from_utf8_lossy(backing.payload).into_owned();
            let Some(inode) = self.objects.find(backing.payload)? else {
                return Err(Refused(format!(
                    "the object {object} is missing from the image, expected in {}/{OBJECTS}, so the deployment can't boot; \
                     make the image again from a repository that `ostree fsck` finds complete",
                    self.prefix
                ))
                .into());
            };
            let expected = backing.digest.map(|digest| (digest, Arc::clone(&name)));
            self.target(inode, format!("{}/{OBJECTS}/{object}", self.prefix), expected);
            deployment.objects.insert(inode);
        }
        Ok(())
    }

    /// What the note in a deployment says of its image. One that makes no sense says nothing here; the check refuses it.
    fn note(&mut self, directory: &Inode, image: u32) -> Result<()> {
        let Some(note) = self.system.lookup_from(directory.number(), NOTE_FILE.as_bytes())? else {
            return Ok(());
        };
        if note.kind() != FileType::File || note.size() > NOTE_MAX as u64 {
            return Ok(());
        }
        let bytes = self.system.read(&note, NOTE_MAX as u64)?;
        if let Ok(note) = Note::parse(&bytes) {
            let target = self.found.files.entry(image).or_default();
            target.expected.push((note.statement.image, format!("the note {NOTE_FILE} beside it").into()));
        }
        Ok(())
    }

    /// There may be a hundred thousand, so nothing is kept that isn't needed.
    fn target(&mut self, inode: u32, mut path: String, expected: Option<(Digest, Arc<str>)>) {
        let target = self.found.files.entry(inode).or_default();
        if target.path.is_empty() {
            path.shrink_to_fit();
            target.path = path;
        }
        if let Some(expected) =
            expected.filter(|(digest, _)| target.expected.iter().all(|(known, _)| known != digest))
        {
            target.expected.reserve_exact(1);
            target.expected.push(expected);
        }
    }

    /// Regular files whose path below the system's root matches.
    fn also(&mut self, root: &Inode, patterns: &[PathPattern]) -> Result<()> {
        let mut seen = BTreeSet::from([root.number()]);
        let mut directories = vec![(Vec::new(), root.clone())];
        let mut used = vec![false; patterns.len()];
        while let Some((path, directory)) = directories.pop() {
            for entry in self.system.entries(&directory)? {
                let path = [path.as_slice(), b"/", &entry.name].concat();
                let inode = self.system.inode(entry.inode)?;
                match inode.kind() {
                    FileType::Directory if seen.insert(entry.inode) => directories.push((path, inode)),
                    FileType::File => {
                        for (pattern, used) in patterns.iter().zip(&mut used) {
                            if pattern.matches(&path) {
                                *used = true;
                                self.target(
                                    entry.inode,
                                    format!("{}{}", self.prefix, String::from_utf8_lossy(&path)),
                                    None,
                                );
                            }
                        }
                    }
                    _ => {}
                }
                if seen.len() > DIRECTORIES_MAX {
                    bail!("the image has more than {DIRECTORIES_MAX} directories");
                }
            }
        }
        match patterns.iter().zip(used).find(|(_, used)| !used) {
            Some((pattern, _)) => {
                bail!("no file in the image matches --also={pattern}; patterns begin with `/`")
            }
            None => Ok(()),
        }
    }
}

/// The repository's objects. They are asked for in their order, so the directory that was read last is kept.
struct Objects<'a> {
    system: &'a FileSystem<'a>,
    root: Inode,
    directory: Vec<u8>,
    names: HashMap<Vec<u8>, u32>,
}

impl Objects<'_> {
    /// The inode of an object, by its path below the objects.
    fn find(&mut self, path: &[u8]) -> Result<Option<u32>> {
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        if self.directory != parent || self.names.is_empty() {
            let directory = self.system.lookup_from(self.root.number(), parent)?;
            let entries = match directory.filter(|inode| inode.kind() == FileType::Directory) {
                Some(directory) => self.system.entries(&directory)?,
                None => Vec::new(),
            };
            self.names = entries.into_iter().map(|entry| (entry.name, entry.inode)).collect();
            self.directory = parent.to_vec();
        }
        Ok(self.names.get(name).copied())
    }
}
