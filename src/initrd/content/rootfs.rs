//! The tree that Linux unpacks an initramfs into: what each member of an archive does to it is what `init/initramfs.c` does,
//! and the table in `tests/data/initramfs-archives.txt` is what guests' kernels did. A member that Linux can't make, such as
//! one without its directory, is passed over as there.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};

use super::bytes::Content;

/// The most members of all archives together; the largest real initramfs images have a tenth of it.
const MEMBERS_MAX: usize = 1 << 18;
/// The most bytes of all their names together.
const NAMES_MAX: usize = 32 << 20;
/// The most components of all paths together, symlinks followed.
const STEPS_MAX: usize = 1 << 24;
/// The most directories above another.
const DEPTH_MAX: usize = 128;
/// The most bytes of all contents that are kept.
const KEPT_MAX: u64 = 64 << 20;

/// `MAXSYMLINKS` and `NAME_MAX` of Linux.
const SYMLINKS_MAX: usize = 40;
const COMPONENT_MAX: usize = 255;

pub(super) const S_IFMT: u32 = 0o170_000;
pub(super) const S_IFDIR: u32 = 0o040_000;
pub(super) const S_IFREG: u32 = 0o100_000;
pub(super) const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

const ROOT: usize = 0;

/// What the archives made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rootfs {
    nodes: Vec<Node>,
    /// The first names of files of which more names may come.
    linked: HashMap<FileId, Vec<u8>>,
    spent: Spent,
}

/// What of the limits was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spent {
    members: usize,
    names: usize,
    steps: usize,
    kept: u64,
}

/// Something with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Directory(Directory),
    File(File),
    /// A symlink with this target.
    Link(Vec<u8>),
    /// A device, fifo or socket, of this type.
    Other(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    parent: usize,
    depth: usize,
    name: Vec<u8>,
    entries: BTreeMap<Vec<u8>, usize>,
}

/// A regular file, which may have several names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct File {
    /// Whether its content matters, now and whenever it is written again.
    keep: bool,
    pub(super) content: Content,
}

/// What makes two members one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub(super) device: (u32, u32),
    pub(super) inode: u32,
    pub(super) kind: u32,
}

/// A regular file that was opened for writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    node: usize,
    /// Whether it is another name of one that was there: without content of its own, this name changes nothing.
    again: bool,
    /// Whether its content matters.
    pub(super) keep: bool,
}

/// What became of a further name.
enum Linked {
    /// It is the first name.
    First,
    /// It is another name of this one.
    Again(usize),
    /// Linux can't make it.
    Failed,
}

/// What a path leads to, symlinks followed.
pub(super) enum Found<'a> {
    Node(&'a Node),
    /// `/dev/null`, which is there before anybody looks.
    Null,
    /// A symlink that leads nowhere.
    Dangling,
}

/// How far one path has led.
struct Walk {
    steps: usize,
    symlinks: usize,
}

impl Default for Rootfs {
    /// What Linux has before it unpacks anything.
    fn default() -> Self {
        let root = Directory { parent: ROOT, depth: 0, name: Vec::new(), entries: BTreeMap::new() };
        let mut tree =
            Self { nodes: vec![Node::Directory(root)], linked: HashMap::new(), spent: Spent::default() };
        let dev = tree.add_directory(ROOT, b"dev");
        tree.add(dev, b"console", Node::Other(S_IFCHR));
        tree.add_directory(ROOT, b"root");
        tree
    }
}

impl Rootfs {
    /// What Linux has before it unpacks anything, where others have used up a part of what there is.
    pub(super) fn after(spent: Spent) -> Self {
        Self { spent, ..Self::default() }
    }

    /// What was used up, by this one and those before it.
    pub(super) fn spent(&self) -> Spent {
        self.spent
    }

    /// Counts a member. Each has a limit that no real initramfs comes near, so that memory and time have one.
    pub(super) fn count(&mut self, name: &[u8]) -> Result<()> {
        self.spent.members += 1;
        self.spent.names += name.len();
        ensure!(self.spent.members <= MEMBERS_MAX, "it has more than {MEMBERS_MAX} members");
        ensure!(self.spent.names <= NAMES_MAX, "its names have more than {NAMES_MAX} bytes");
        Ok(())
    }

    /// How many bytes of contents are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> u64 {
        self.spent.kept
    }

    /// A trailer: files of another archive are other files.
    pub(super) fn end_archive(&mut self) {
        self.linked.clear();
    }

    pub(super) fn make_directory(&mut self, name: &[u8]) -> Result<()> {
        let Some((directory, last)) = self.place(name)? else { return Ok(()) };
        let there = self.entry(directory, last);
        // Linux would look through the symlink.
        let through =
            name.ends_with(b"/") && there.is_some_and(|node| matches!(self.nodes[node], Node::Link(_)));
        ensure!(!through, "the name of a symbolic link, here of a directory, ends with a slash");
        self.clean(name, S_IFDIR)?;
        if self.entry(directory, last).is_none() {
            ensure!(self.depth(directory) < DEPTH_MAX, "it has a directory below {DEPTH_MAX} others");
            self.add_directory(directory, last);
        }
        Ok(())
    }

    pub(super) fn make_symlink(&mut self, name: &[u8], target: &[u8]) -> Result<()> {
        self.clean(name, 0)?;
        self.make(name, Node::Link(target.to_owned()))
    }

    /// A device, fifo or socket.
    pub(super) fn make_other(&mut self, name: &[u8], kind: u32, file: Option<FileId>) -> Result<()> {
        self.clean(name, kind)?;
        match self.link(name, file)? {
            Linked::First => self.make(name, Node::Other(kind)),
            Linked::Again(_) | Linked::Failed => Ok(()),
        }
    }

    /// What Linux does for a member of no type that it knows: it removes what is there.
    pub(super) fn make_nothing(&mut self, name: &[u8]) -> Result<()> {
        self.clean(name, 0)
    }

    /// Opens a regular file for its content. `matters` says whether that counts in a file of this path.
    pub(super) fn open(
        &mut self,
        name: &[u8],
        file: Option<FileId>,
        matters: fn(&[u8]) -> bool,
    ) -> Result<Option<Opened>> {
        self.clean(name, S_IFREG)?;
        let linked = self.link(name, file)?;
        let Some((directory, last)) = self.place(name)? else { return Ok(None) };
        let keep = self.path(directory, last).is_some_and(|path| matters(&path));
        let (node, again) = match (linked, self.entry(directory, last)) {
            (Linked::Failed, _) => return Ok(None),
            (Linked::Again(node), _) => (node, true),
            (Linked::First, Some(node)) => (node, false),
            (Linked::First, None) => (self.add(directory, last, Node::File(File::default())), false),
        };
        match &mut self.nodes[node] {
            Node::File(there) => {
                let late = keep && again && !there.keep;
                ensure!(!late, "{} is another name of a file that had one only", shown(name));
                there.keep |= keep || file.is_some();
                Ok(Some(Opened { node, again, keep: there.keep }))
            }
            Node::Directory(_) => Ok(None),
            // Linux would write through the symlink, or to the device.
            Node::Link(_) | Node::Other(_) => {
                anyhow::bail!("{} is another name of what is no file any more", shown(name))
            }
        }
    }

    /// Writes the content of a file, in the place of what it had.
    pub(super) fn write(&mut self, opened: Opened, content: Content) -> Result<()> {
        let Node::File(file) = &mut self.nodes[opened.node] else { return Ok(()) };
        if opened.again && content.size == 0 {
            return Ok(());
        }
        let len = |content: &Content| content.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.spent.kept = self.spent.kept - len(&file.content) + len(&content);
        file.content = content;
        ensure!(self.spent.kept <= KEPT_MAX, "what is to be read of it has more than {KEPT_MAX} bytes");
        Ok(())
    }

    /// What is at a path of real directories, and nothing where a symlink or a file is on the way.
    pub(super) fn at(&self, path: &[u8]) -> Option<&Node> {
        let mut node = ROOT;
        for name in components(path) {
            node = self.entry(node, name)?;
        }
        Some(&self.nodes[node])
    }

    /// What a path leads to, if there is anything of that name. `steps` counts all that are gone, which have a limit.
    pub(super) fn find(&self, path: &[u8], steps: &mut usize) -> Result<Option<Found<'_>>> {
        let mut walk = Walk { steps: *steps, symlinks: 0 };
        let found = self.walk(path, &mut walk);
        *steps = walk.steps;
        found
    }

    fn walk<'a>(&'a self, path: &[u8], walk: &mut Walk) -> Result<Option<Found<'a>>> {
        let (mut from, mut path, mut otherwise) = (ROOT, path, None);
        loop {
            let (above, last) = split(path);
            let Some(directory) = self.directory(from, above, walk)? else { return Ok(otherwise) };
            if last == b"null" && self.entry(ROOT, b"dev") == Some(directory) {
                return Ok(Some(Found::Null));
            }
            match self.entry(directory, last).map(|node| &self.nodes[node]) {
                Some(Node::Link(target)) if walk.symlinks < SYMLINKS_MAX => {
                    walk.symlinks += 1;
                    otherwise = Some(Found::Dangling);
                    (from, path) = (directory, target);
                }
                Some(Node::Link(_)) => return Ok(Some(Found::Dangling)),
                Some(node) => return Ok(Some(Found::Node(node))),
                None => return Ok(otherwise),
            }
        }
    }

    /// The entries of a directory, by name.
    pub(super) fn entries<'a>(
        &'a self,
        directory: &'a Directory,
    ) -> impl Iterator<Item = (&'a [u8], &'a Node)> {
        directory.entries.iter().map(|(name, node)| (name.as_slice(), &self.nodes[*node]))
    }

    /// Everything but the root, each directory before what is in it.
    pub(super) fn all(&self) -> impl Iterator<Item = Named<'_>> {
        let mut stack = vec![ROOT];
        let of_directory = move |directory| match &self.nodes[directory] {
            Node::Directory(found) => {
                found.entries.iter().map(|(name, node)| (name.as_slice(), *node)).collect()
            }
            _ => Vec::new(),
        };
        std::iter::from_fn(move || {
            let directory = stack.pop()?;
            let entries = of_directory(directory);
            stack.extend(entries.iter().map(|(_, node)| *node).filter(|node| self.is_directory(*node)));
            Some(entries.into_iter().map(move |(name, node)| Named { tree: self, directory, name, node }))
        })
        .flatten()
    }

    fn is_directory(&self, node: usize) -> bool {
        matches!(self.nodes[node], Node::Directory(_))
    }

    fn depth(&self, directory: usize) -> usize {
        match &self.nodes[directory] {
            Node::Directory(directory) => directory.depth,
            _ => 0,
        }
    }

    fn entry(&self, directory: usize, name: &[u8]) -> Option<usize> {
        match &self.nodes[directory] {
            Node::Directory(directory) => directory.entries.get(name).copied(),
            _ => None,
        }
    }

    fn entries_mut(&mut self, directory: usize) -> Option<&mut BTreeMap<Vec<u8>, usize>> {
        match &mut self.nodes[directory] {
            Node::Directory(directory) => Some(&mut directory.entries),
            _ => None,
        }
    }

    fn add(&mut self, directory: usize, name: &[u8], node: Node) -> usize {
        let number = self.nodes.len();
        self.nodes.push(node);
        self.entries_mut(directory).and_then(|entries| entries.insert(name.to_owned(), number));
        number
    }

    fn add_directory(&mut self, parent: usize, name: &[u8]) -> usize {
        let depth = self.depth(parent) + 1;
        let node = Directory { parent, depth, name: name.to_owned(), entries: BTreeMap::new() };
        self.add(parent, name, Node::Directory(node))
    }

    fn make(&mut self, name: &[u8], node: Node) -> Result<()> {
        if let Some((directory, last)) = self.place(name)? {
            if self.entry(directory, last).is_none() {
                self.add(directory, last, node);
            }
        }
        Ok(())
    }

    /// `clean_path` of Linux: what is there and of another type goes, a directory only if it is empty.
    fn clean(&mut self, name: &[u8], kind: u32) -> Result<()> {
        let Some((directory, last)) = self.place(name)? else { return Ok(()) };
        let Some(node) = self.entry(directory, last) else { return Ok(()) };
        let goes = match &self.nodes[node] {
            Node::Directory(there) => kind != S_IFDIR && there.entries.is_empty(),
            Node::File(_) => kind != S_IFREG,
            Node::Link(_) => kind != S_IFLNK,
            Node::Other(there) => kind != *there,
        };
        if goes {
            self.entries_mut(directory).and_then(|entries| entries.remove(last));
        }
        Ok(())
    }

    /// `maybe_link` of Linux: the first name is kept as a name, and looked up again for each that follows.
    fn link(&mut self, name: &[u8], file: Option<FileId>) -> Result<Linked> {
        let Some(file) = file else { return Ok(Linked::First) };
        let Some(first) = self.linked.get(&file).cloned() else {
            self.linked.insert(file, name.to_owned());
            return Ok(Linked::First);
        };
        self.clean(name, 0)?;
        let there = self.place(&first)?.and_then(|(directory, last)| self.entry(directory, last));
        let Some(node) = there.filter(|node| !self.is_directory(*node)) else { return Ok(Linked::Failed) };
        match self.place(name)? {
            Some((directory, last)) if self.entry(directory, last).is_none() => {
                self.entries_mut(directory).and_then(|entries| entries.insert(last.to_owned(), node));
                Ok(Linked::Again(node))
            }
            _ => Ok(Linked::Failed),
        }
    }

    /// The directory that a name leads to, symlinks followed, and the name in it. Nothing where there is no such directory.
    fn place<'a>(&mut self, name: &'a [u8]) -> Result<Option<(usize, &'a [u8])>> {
        let (above, last) = split(name);
        if last.is_empty() || last == b"." || last == b".." || last.len() > COMPONENT_MAX {
            return Ok(None);
        }
        let mut walk = Walk { steps: self.spent.steps, symlinks: 0 };
        let directory = self.directory(ROOT, above, &mut walk)?;
        self.spent.steps = walk.steps;
        Ok(directory.map(|directory| (directory, last)))
    }

    /// The directory that a path leads to.
    fn directory(&self, from: usize, path: &[u8], walk: &mut Walk) -> Result<Option<usize>> {
        let mut at = if path.starts_with(b"/") { ROOT } else { from };
        for name in components(path) {
            walk.steps += 1;
            ensure!(walk.steps <= STEPS_MAX, "its names lead through more than {STEPS_MAX} directories");
            let next = match (name, &self.nodes[at]) {
                (b".", _) => Some(at),
                (b"..", Node::Directory(directory)) => Some(directory.parent),
                _ => self.entry(at, name),
            };
            let Some(next) = next else { return Ok(None) };
            at = match &self.nodes[next] {
                Node::Directory(_) => next,
                Node::Link(target) if !target.is_empty() && walk.symlinks < SYMLINKS_MAX => {
                    walk.symlinks += 1;
                    match self.directory(at, target, walk)? {
                        Some(directory) => directory,
                        None => return Ok(None),
                    }
                }
                _ => return Ok(None),
            };
        }
        Ok(Some(at))
    }

    /// The path of a name in a directory, if no more directories are above it than are above what matters.
    fn path(&self, directory: usize, last: &[u8]) -> Option<Vec<u8>> {
        (self.depth(directory) <= 8).then(|| self.whole_path(directory, last))
    }

    fn whole_path(&self, mut directory: usize, last: &[u8]) -> Vec<u8> {
        let mut names = vec![last];
        while let (Node::Directory(found), true) = (&self.nodes[directory], directory != ROOT) {
            names.push(&found.name);
            directory = found.parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// A name in the tree.
pub(super) struct Named<'a> {
    tree: &'a Rootfs,
    directory: usize,
    pub(super) name: &'a [u8],
    node: usize,
}

impl<'a> Named<'a> {
    pub(super) fn node(&self) -> &'a Node {
        &self.tree.nodes[self.node]
    }

    pub(super) fn path(&self) -> Vec<u8> {
        self.tree.whole_path(self.directory, self.name)
    }
}

/// What is above the last component of a path, and that.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let trimmed = path.iter().rposition(|byte| *byte != b'/').map_or(&path[..0], |end| &path[..=end]);
    let start = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    (&path[..start], &trimmed[start..])
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
