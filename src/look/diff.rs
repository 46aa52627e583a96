//! What differs between two trees.

use std::collections::{BTreeMap, HashMap, HashSet};

use ostree_seal_trust::digest::Digest;

use super::change::{Change, ChangeKind, Diff, What};
use super::links::Groups;
use super::sides::Side;
use crate::merkle;
use crate::tree::{Content, Entry, Metadata, NodeId, Tree, mode};

/// Compares two sides. Only that is compared which both keep.
pub fn diff(old: &Side, new: &Side) -> Diff {
    let mut comparison = Comparison {
        sides: [old, new],
        links: (old.traits.has_links && new.traits.has_links)
            .then(|| [Groups::of(&old.tree), Groups::of(&new.tree)]),
        times: old.traits.has_times && new.traits.has_times,
        xattrs: HashSet::new(),
        lone: [Vec::new(), Vec::new()],
        changes: BTreeMap::new(),
    };
    comparison.run();
    let (objects, fetch) = fetched(&old.tree, &new.tree);
    Diff { changes: comparison.finish(), fetch, objects }
}

/// A path that one side has alone, and its node.
type Lone = (Vec<u8>, NodeId);

struct Comparison<'s> {
    sides: [&'s Side; 2],
    links: Option<[Groups; 2]>,
    times: bool,
    /// Pairs of xattr sets that were found equal: an OS has a handful of them.
    xattrs: HashSet<(usize, usize)>,
    lone: [Vec<Lone>; 2],
    changes: BTreeMap<Vec<u8>, Change>,
}

impl Comparison<'_> {
    fn run(&mut self) {
        let mut open = vec![(Vec::new(), Tree::ROOT, Tree::ROOT)];
        while let Some((path, old, new)) = open.pop() {
            let what = self.compare(&path, old, new);
            if !what.is_empty() {
                let path = if path.is_empty() { b"/".to_vec() } else { path.clone() };
                self.changes.insert(path.clone(), Change { path, kind: ChangeKind::Changed, what });
            }
            self.names(&path, [old, new], &mut open);
        }
    }

    /// Merges the names of two nodes, both of which may be no directory.
    fn names(&mut self, path: &[u8], nodes: [NodeId; 2], open: &mut Vec<(Vec<u8>, NodeId, NodeId)>) {
        let [old_tree, new_tree] = self.sides.map(|side| &side.tree);
        let olds = old_tree.children(nodes[0]).unwrap_or_default();
        let mut news = new_tree.children(nodes[1]).unwrap_or_default().iter().peekable();
        let join = |name: &[u8]| [path, b"/", name].concat();
        for old in olds {
            let name = &old_tree[old.name];
            while let Some(new) = news.next_if(|new| new_tree[new.name] < *name) {
                self.alone(1, join(&new_tree[new.name]), new);
            }
            match news.next_if(|new| new_tree[new.name] == *name) {
                Some(new) => open.push((join(name), old.node, new.node)),
                None => self.alone(0, join(name), old),
            }
        }
        for new in news {
            self.alone(1, join(&new_tree[new.name]), new);
        }
    }

    /// A name that one side has alone, and all below it.
    fn alone(&mut self, side: usize, path: Vec<u8>, entry: &Entry) {
        let tree = &self.sides[side].tree;
        let mut open = vec![(path, entry.node)];
        while let Some((path, node)) = open.pop() {
            for entry in tree.children(node).unwrap_or_default() {
                open.push(([path.as_slice(), b"/", &tree[entry.name]].concat(), entry.node));
            }
            self.lone[side].push((path, node));
        }
    }

    /// What differs of two nodes.
    fn compare(&mut self, path: &[u8], old: NodeId, new: NodeId) -> Vec<What> {
        let [old_tree, new_tree] = self.sides.map(|side| &side.tree);
        let (a, b) = (&old_tree[old], &new_tree[new]);
        let mut what = Vec::new();
        if kind(&a.meta) != kind(&b.meta) {
            what.push(What::Type(kind(&a.meta), kind(&b.meta)));
            return what;
        }
        if (a.meta.mode ^ b.meta.mode) & 0o7777 != 0 {
            what.push(What::Mode(a.meta.mode & 0o7777, b.meta.mode & 0o7777));
        }
        if (a.meta.uid, a.meta.gid) != (b.meta.uid, b.meta.gid) {
            what.push(What::Owner((a.meta.uid, a.meta.gid), (b.meta.uid, b.meta.gid)));
        }
        if a.meta.rdev != b.meta.rdev {
            what.push(What::Device(a.meta.rdev, b.meta.rdev));
        }
        if self.times && a.meta.mtime != b.meta.mtime {
            what.push(What::Mtime(a.meta.mtime, b.meta.mtime));
        }
        self.compare_xattrs(&a.meta, &b.meta, &mut what);
        compare_contents((old_tree, old), (new_tree, new), &mut what);
        if let Some([olds, news]) = &self.links {
            let others = |group: &[Vec<u8>]| -> Vec<Vec<u8>> {
                group.iter().filter(|other| *other != path).cloned().collect()
            };
            let (olds, news) = (others(olds.paths(old)), others(news.paths(new)));
            if olds != news {
                what.push(What::Links(olds, news));
            }
        }
        what
    }

    fn compare_xattrs(&mut self, old: &Metadata, new: &Metadata, what: &mut Vec<What>) {
        let pair = (old.xattrs.index(), new.xattrs.index());
        if self.xattrs.contains(&pair) {
            return;
        }
        let set = |side: usize, meta: &Metadata| -> BTreeMap<&[u8], &[u8]> {
            let tree = &self.sides[side].tree;
            tree.xattrs(meta.xattrs).map(|xattr| (&tree[xattr.name], &tree[xattr.value])).collect()
        };
        let (olds, news) = (set(0, old), set(1, new));
        if olds == news {
            self.xattrs.insert(pair);
            return;
        }
        let names: std::collections::BTreeSet<_> = olds.keys().chain(news.keys()).collect();
        for name in names {
            let [old, new] = [&olds, &news].map(|values| values.get(*name).map(|value| value.to_vec()));
            if old != new {
                what.push(What::Xattr(name.to_vec(), old, new));
            }
        }
    }

    /// What one side has alone is renamed, if the other side alone has a file with its content.
    fn finish(mut self) -> Vec<Change> {
        let [olds, news] = std::mem::take(&mut self.lone);
        let [old_tree, new_tree] = self.sides.map(|side| &side.tree);
        let mut sources: HashMap<Key, Vec<Lone>> = HashMap::new();
        let mut removed: BTreeMap<Vec<u8>, NodeId> = olds.into_iter().collect();
        for (path, node) in removed.iter().rev() {
            if let Some(key) = key_of(old_tree, *node) {
                sources.entry(key).or_default().push((path.clone(), *node));
            }
        }
        let mut news = news;
        news.sort();
        for (path, node) in news {
            let source = key_of(new_tree, node).and_then(|key| sources.get_mut(&key)?.pop());
            let (kind, what) = match source {
                Some((from, old)) => {
                    removed.remove(&from);
                    (ChangeKind::Renamed(from), self.compare(&path, old, node))
                }
                None => (ChangeKind::Added, Vec::new()),
            };
            self.changes.insert(path.clone(), Change { path, kind, what });
        }
        let mut changes: Vec<_> = self.changes.into_values().collect();
        changes.extend(removed.into_keys().map(|path| Change {
            path,
            kind: ChangeKind::Removed,
            what: Vec::new(),
        }));
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }
}

fn kind(meta: &Metadata) -> u32 {
    meta.mode & mode::S_IFMT
}

/// What tells contents apart.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Digest(Digest),
    Payload(Vec<u8>),
    Target(Vec<u8>),
}

/// A content that is no other's by chance: an empty file is renamed to nothing.
fn key_of(tree: &Tree, node: NodeId) -> Option<Key> {
    Some(match tree[node].content {
        Content::External(backing) => match tree[backing].digest {
            Some(digest) => Key::Digest(digest),
            None => Key::Payload(tree[tree[backing].payload].to_vec()),
        },
        Content::Inline(content) => Key::Digest(merkle::digest(&tree[content])),
        Content::Symlink(target) => Key::Target(tree[target].to_vec()),
        Content::Directory(_) | Content::Empty | Content::Special => return None,
    })
}

fn compare_contents(
    (old_tree, old): (&Tree, NodeId),
    (new_tree, new): (&Tree, NodeId),
    what: &mut Vec<What>,
) {
    let (a, b) = (&old_tree[old], &new_tree[new]);
    match (a.content, b.content) {
        (Content::Symlink(old), Content::Symlink(new)) if old_tree[old] != new_tree[new] => {
            what.push(What::Target(old_tree[old].to_vec(), new_tree[new].to_vec()));
        }
        (
            Content::Empty | Content::Inline(_) | Content::External(_),
            Content::Empty | Content::Inline(_) | Content::External(_),
        ) => {
            if a.meta.size != b.meta.size {
                what.push(What::Size(a.meta.size, b.meta.size));
            }
            let (old, new) = (key_of(old_tree, old), key_of(new_tree, new));
            let differ = match (&old, &new) {
                (Some(Key::Digest(old)), Some(Key::Digest(new))) => old != new,
                (Some(Key::Payload(old)), Some(Key::Payload(new))) => old != new,
                // An empty file, or one of which one side doesn't say enough.
                _ => a.meta.size != b.meta.size,
            };
            if differ {
                what.push(What::Content(digest_in(old), digest_in(new)));
            }
        }
        _ => {}
    }
}

fn digest_in(key: Option<Key>) -> Option<Digest> {
    match key {
        Some(Key::Digest(digest)) => Some(digest),
        _ => None,
    }
}

/// Number and bytes of the objects that only the new tree points at.
fn fetched(old: &Tree, new: &Tree) -> (usize, u64) {
    fn objects(tree: &Tree) -> impl Iterator<Item = (&[u8], u64)> {
        tree.nodes().filter_map(|(_, node)| match node.content {
            Content::External(backing) => Some((&tree[tree[backing].payload], node.meta.size)),
            _ => None,
        })
    }
    let known: HashSet<&[u8]> = objects(old).map(|(payload, _)| payload).collect();
    let missing: HashMap<&[u8], u64> =
        objects(new).filter(|(payload, _)| !payload.is_empty() && !known.contains(payload)).collect();
    (missing.len(), missing.values().sum())
}
