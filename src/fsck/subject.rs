//! What is checked: a deployment with its image, or a commit; each with the objects that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use ostree_seal_root::check::verity::{self, MeasureError};
use ostree_seal_root::read::read_limited;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::note::Note;

use crate::beneath::Below;
use crate::erofs;
use crate::merkle;
use crate::repo::{Checksum, Commit, Listed, Source, Wanted};
use crate::sysroot::Deployment;
use crate::tree::{Content, Tree};

/// The image of a deployment and its note, beside its directory's files.
const IMAGE: &str = ".ostree.cfs";
const NOTE: &str = ".ostree.seal";
/// The most paths of a commit. A few objects can spell any number of them.
const PATHS_MAX: usize = 1 << 24;
/// The most bytes of an image and of a note.
const IMAGE_MAX: usize = 1 << 30;
const NOTE_MAX: usize = 1 << 20;

/// A deployment or a commit.
pub struct FsckTarget {
    /// How it is called.
    pub name: String,
    /// What is wrong with it as a whole.
    pub problems: Vec<String>,
    needs: Needs,
}

/// The objects that it needs.
enum Needs {
    Tree(Box<Tree>),
    Paths(BTreeMap<Checksum, Vec<Vec<u8>>>),
}

impl FsckTarget {
    /// The objects that it needs, each once.
    pub fn wanted(&self) -> BTreeSet<Wanted> {
        match &self.needs {
            Needs::Paths(paths) => {
                paths.keys().map(|object| Wanted { object: *object, digest: None }).collect()
            }
            Needs::Tree(tree) => tree.nodes().filter_map(|(_, node)| wanted(tree, node.content)).collect(),
        }
    }

    /// The paths of some of its objects.
    pub fn paths(&self, objects: &BTreeSet<Checksum>) -> Vec<(Checksum, Vec<u8>)> {
        let tree = match &self.needs {
            Needs::Paths(all) => {
                let found = all.iter().filter(|(object, _)| objects.contains(object));
                return found
                    .flat_map(|(object, paths)| paths.iter().map(|path| (*object, path.clone())))
                    .collect();
            }
            Needs::Tree(tree) => tree,
        };
        let paths = tree.paths();
        let mut found = Vec::new();
        for (parent, _) in tree.nodes() {
            for entry in tree.children(parent).unwrap_or_default() {
                let object = wanted(tree, tree[entry.node].content).map(|wanted| wanted.object);
                let Some(object) = object.filter(|object| objects.contains(object)) else { continue };
                let parent = paths.path(tree, parent).unwrap_or_default();
                let parent = if parent == b"/" { &[] } else { parent.as_slice() };
                found.push((object, [parent, b"/", &tree[entry.name]].concat()));
            }
        }
        found
    }
}

fn wanted(tree: &Tree, content: Content) -> Option<Wanted> {
    let Content::External(backing) = content else { return None };
    let backing = tree[backing];
    Some(Wanted { object: object_of(&tree[backing.payload])?, digest: backing.digest })
}

/// The object at a path below `objects`: `xx/…62 digits….file`.
fn object_of(payload: &[u8]) -> Option<Checksum> {
    let text = std::str::from_utf8(payload).ok()?;
    Checksum::from_hex(&text.strip_suffix(".file")?.replacen('/', "", 1))
}

/// A deployment with an image; None if it has none, and isn't sealed.
pub fn of_deployment(deployment: &Deployment) -> Result<Option<FsckTarget>> {
    let name = format!("deployment {}", deployment.index);
    let image = Below::new(&deployment.directory, IMAGE);
    if !image.is_named().with_context(|| format!("looking at {image}"))? {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut tree = Tree::new();
    match read_image(&image) {
        Ok((file, bytes)) => {
            let digest = merkle::digest(&bytes);
            problems.extend(protection(&file));
            problems.extend(against_note(&Below::new(&deployment.directory, NOTE), digest));
            match erofs::read(&bytes) {
                Ok(found) => tree = found,
                Err(error) => problems.push(format!("the image can't be understood: {error}")),
            }
        }
        Err(error) => problems.push(format!("the image can't be read: {error:#}")),
    }
    Ok(Some(FsckTarget { name, problems, needs: Needs::Tree(Box::new(tree)) }))
}

/// The image, open, and its bytes.
fn read_image(image: &Below) -> Result<(File, Vec<u8>)> {
    let file = image.open(IMAGE_MAX)?;
    let bytes = read_limited(file.try_clone()?.into(), IMAGE_MAX)?;
    Ok((file, bytes))
}

/// Whether the kernel checks the image.
fn protection(file: &File) -> Option<String> {
    match verity::measure(file) {
        Ok(_) => None,
        Err(MeasureError::NotEnabled | MeasureError::Unsupported) => {
            Some("the image has no fs-verity".to_owned())
        }
        Err(error) => Some(format!("the kernel gives no digest of the image: {error}")),
    }
}

/// Whether the image is the one that its note was made for. One without a note may be signed in its commit.
fn against_note(path: &Below, digest: Digest) -> Option<String> {
    let bytes = match path.read_if_there(NOTE_MAX) {
        Ok(bytes) => bytes?,
        Err(error) => return Some(format!("the note can't be read: {error:#}")),
    };
    match Note::parse(&bytes) {
        Ok(note) if note.statement.image == digest => None,
        Ok(note) => Some(format!(
            "the image has the digest {digest}, its note is for {}: one of the two is damaged",
            note.statement.image
        )),
        Err(error) => Some(format!("the note can't be understood: {error}")),
    }
}

/// A commit and all file objects in it. Its directories are compared with their checksums on the way.
pub fn of_commit(source: &Source, name: &str, commit: &Commit) -> Result<FsckTarget> {
    let mut objects: BTreeMap<Checksum, Vec<Vec<u8>>> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut dirmetas = BTreeSet::from([commit.dirmeta]);
    let mut open = vec![(Vec::new(), commit.dirtree)];
    let mut count = 0;
    while let Some((path, dirtree)) = open.pop() {
        let listing = match source.listing(&dirtree) {
            Ok(listing) => listing,
            Err(error) => {
                problems.push(format!("{}/: {error:#}", crate::shown::text_of(&path)));
                continue;
            }
        };
        for (name, listed) in listing {
            let path = [path.as_slice(), b"/", &name].concat();
            count += 1;
            ensure!(count <= PATHS_MAX, "the commit has more than {PATHS_MAX} paths");
            match listed {
                Listed::File(object) => objects.entry(object).or_default().push(path),
                Listed::Directory { dirtree, dirmeta } => {
                    dirmetas.insert(dirmeta);
                    open.push((path, dirtree));
                }
            }
        }
    }
    let broken = dirmetas.iter().filter_map(|dirmeta| source.directory_meta(dirmeta).err());
    problems.extend(broken.map(|error| format!("{error:#}")));
    Ok(FsckTarget { name: name.to_owned(), problems, needs: Needs::Paths(objects) })
}

impl std::fmt::Debug for FsckTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}
