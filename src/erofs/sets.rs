//! The final xattr set of each inode: names escaped, and what overlayfs needs added. README.md, "Overlay".

use std::borrow::Cow;
use std::collections::HashMap;

use xxhash_rust::xxh32::xxh32;

use super::error::PlanErrorKind;
use super::format::{EROFS_XATTR_FILTER_SEED, XATTR_PREFIXES};
use super::overlay::{self, METACOPY, OPAQUE, Pair, REDIRECT, ROOT_WHITEOUT_XATTR, WHITEOUT, WHITEOUTS};
use crate::tree::{BackingId, NodeId, Tree, XattrId, XattrsId};

/// What an inode is to overlayfs, as far as it adds xattrs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum OverlayRole {
    /// Nothing special.
    Plain,
    /// A whiteout of the input.
    Whiteout,
    /// A directory that places whiteouts.
    HasWhiteouts,
    /// The root.
    Root { has_whiteouts: bool },
    /// A real whiteout in the root.
    RootWhiteout,
}

impl OverlayRole {
    /// What a node's inode is to overlayfs.
    pub(super) fn of(tree: &Tree, node: NodeId, has_whiteouts: bool) -> Self {
        match has_whiteouts {
            _ if node == Tree::ROOT => Self::Root { has_whiteouts },
            true => Self::HasWhiteouts,
            false if overlay::is_whiteout(&tree[node].meta) => Self::Whiteout,
            false => Self::Plain,
        }
    }
}

/// A final set, interned.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetId(u32);

/// A pair of a final set; equal pairs are the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PairId {
    /// One that the rewriting adds, by its number in [`FIXED`].
    Fixed(u8),
    /// One of the tree that is none of those.
    Tree(XattrId),
}

/// The pairs that the rewriting adds, metacopy and redirect aside.
pub(super) const FIXED: [Pair; 7] =
    [OPAQUE, WHITEOUT[0], WHITEOUT[1], WHITEOUTS[0], WHITEOUTS[1], WHITEOUTS[2], WHITEOUTS[3]];

/// Position of a name among all names in bytewise order.
pub(super) type Rank = u32;

/// A name as it is stored.
pub(super) struct StoredName {
    /// Whole name, escaped.
    pub(super) text: Box<[u8]>,
    /// Number of its prefix.
    pub(super) index: u8,
    /// Its bit in the name filter.
    pub(super) filter: u32,
    prefix_len: usize,
}

/// Names, pairs and sets, while inodes still join.
pub(super) struct Sets<'t> {
    pub(super) tree: &'t Tree,
    version: u32,
    /// In bytewise order.
    pub(super) names: Vec<StoredName>,
    /// The name of each pair, by [`PairId::index`].
    pub(super) pair_names: Vec<Rank>,
    /// Xattrs of the tree that escaping makes the same as a fixed pair.
    pub(super) fixed: HashMap<XattrId, PairId>,
    known: HashMap<(XattrsId, OverlayRole), SetId>,
    /// The sets of plain inodes, by [`XattrsId`].
    plain: Vec<Option<SetId>>,
    /// Start and length in `members`, by [`SetId`].
    pub(super) sets: Vec<(u32, u32)>,
    pub(super) members: Vec<PairId>,
    /// How many inodes have each set.
    pub(super) uses: Vec<u32>,
    /// How many inodes have each backing file.
    pub(super) backing_uses: Vec<u32>,
}

impl<'t> Sets<'t> {
    pub(super) fn new(tree: &'t Tree, version: u32) -> Result<Self, PlanErrorKind> {
        let (names, pair_names) = names(tree)?;
        let fixed = tree.interned_xattrs().filter_map(|(id, _)| Some((id, fixed_of(tree, id)?))).collect();
        Ok(Self {
            tree,
            version,
            names,
            pair_names,
            fixed,
            known: HashMap::new(),
            plain: vec![None; tree.xattr_set_count()],
            sets: Vec::new(),
            members: Vec::new(),
            uses: Vec::new(),
            backing_uses: vec![0; tree.backing_count()],
        })
    }

    /// The final set of an inode. Joining counts as one use of each of its pairs.
    pub(super) fn join(
        &mut self,
        set: XattrsId,
        role: OverlayRole,
        backing: Option<BackingId>,
    ) -> Result<SetId, PlanErrorKind> {
        if let Some(backing) = backing {
            self.backing_uses[backing.index()] += 1;
        }
        let known = match role {
            OverlayRole::Plain => self.plain[set.index()],
            _ => self.known.get(&(set, role)).copied(),
        };
        let id = known.map_or_else(|| self.add(set, role), Ok)?;
        self.uses[id.index()] += 1;
        Ok(id)
    }

    fn add(&mut self, set: XattrsId, role: OverlayRole) -> Result<SetId, PlanErrorKind> {
        let mut pairs: Vec<PairId> = match role {
            OverlayRole::RootWhiteout => self.labels(set).collect(),
            _ => self.tree.xattr_ids(set).iter().map(|id| self.pair(*id)).collect(),
        };
        let added: &[&[Pair]] = match role {
            OverlayRole::Plain | OverlayRole::RootWhiteout => &[],
            OverlayRole::Whiteout => &[&WHITEOUT],
            OverlayRole::HasWhiteouts => &[overlay::whiteouts(self.version)],
            OverlayRole::Root { has_whiteouts: false } => &[&[OPAQUE]],
            OverlayRole::Root { has_whiteouts: true } => &[overlay::whiteouts(self.version), &[OPAQUE]],
        };
        for added in added.iter().copied().flatten().filter_map(|(name, value)| fixed_pair(name, value)) {
            pairs.retain(|pair| self.rank(*pair) != self.rank(added));
            pairs.push(added);
        }
        pairs.sort_unstable_by_key(|pair| self.rank(*pair));
        let id = SetId(place(self.sets.len())?);
        self.sets.push((place(self.members.len())?, place(pairs.len())?));
        self.members.extend(pairs);
        self.uses.push(0);
        if role == OverlayRole::Plain {
            self.plain[set.index()] = Some(id);
        } else {
            self.known.insert((set, role), id);
        }
        Ok(id)
    }

    /// What a real whiteout in the root copies of the root's xattrs.
    fn labels(&self, set: XattrsId) -> impl Iterator<Item = PairId> {
        let is_label = |id: &&XattrId| self.tree[self.tree[**id].name] == *ROOT_WHITEOUT_XATTR;
        self.tree.xattr_ids(set).iter().filter(is_label).map(|id| self.pair(*id))
    }

    fn pair(&self, id: XattrId) -> PairId {
        self.fixed.get(&id).copied().unwrap_or(PairId::Tree(id))
    }

    fn rank(&self, pair: PairId) -> Rank {
        self.pair_names[pair.index()]
    }
}

/// The names of all pairs in bytewise order, each once, and the rank of each pair's name.
fn names(tree: &Tree) -> Result<(Vec<StoredName>, Vec<Rank>), PlanErrorKind> {
    let fixed = FIXED.iter().map(|(name, _)| *name).map(Cow::Borrowed);
    let of_tree = tree.interned_xattrs().map(|(_, xattr)| overlay::escape(&tree[xattr.name]));
    let mut numbers: HashMap<Cow<'_, [u8]>, u32> = HashMap::new();
    let mut pair_names = Vec::with_capacity(FIXED.len() + of_tree.len());
    for name in fixed.chain(of_tree) {
        let next = place(numbers.len())?;
        pair_names.push(*numbers.entry(name).or_insert(next));
    }
    for name in [METACOPY, REDIRECT] {
        let next = place(numbers.len())?;
        numbers.entry(Cow::Borrowed(name)).or_insert(next);
    }
    let mut sorted: Vec<_> = numbers.into_iter().collect();
    sorted.sort_unstable();
    let mut ranks = vec![0; sorted.len()];
    for (rank, (_, number)) in (0..).zip(&sorted) {
        ranks[*number as usize] = rank;
    }
    for name in &mut pair_names {
        *name = ranks[*name as usize];
    }
    Ok((sorted.iter().map(|(text, _)| StoredName::new(text)).collect(), pair_names))
}

/// The fixed pair that an xattr of the tree becomes, if it does.
fn fixed_of(tree: &Tree, id: XattrId) -> Option<PairId> {
    let xattr = &tree[id];
    if xattr.value.len() > 1 {
        return None;
    }
    fixed_pair(&overlay::escape(&tree[xattr.name]), &tree[xattr.value])
}

fn fixed_pair(name: &[u8], value: &[u8]) -> Option<PairId> {
    (0..).zip(FIXED).find(|(_, pair)| *pair == (name, value)).map(|(index, _)| PairId::Fixed(index))
}

impl PairId {
    /// Position among all pairs.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Fixed(index) => usize::from(index),
            Self::Tree(id) => FIXED.len() + id.index(),
        }
    }
}

impl SetId {
    /// Position among the sets.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl StoredName {
    fn new(text: &[u8]) -> Self {
        let (index, prefix) =
            XATTR_PREFIXES.into_iter().find(|(_, prefix)| text.starts_with(prefix)).unwrap_or((0, b""));
        let seed = EROFS_XATTR_FILTER_SEED.wrapping_add(u32::from(index));
        let filter = 1 << (xxh32(&text[prefix.len()..], seed) & 31);
        Self { text: text.into(), index, filter, prefix_len: prefix.len() }
    }

    /// The name without its prefix.
    pub(super) fn suffix(&self) -> &[u8] {
        &self.text[self.prefix_len..]
    }
}

/// An index as it is kept in a plan.
pub(super) fn place(index: usize) -> Result<u32, PlanErrorKind> {
    u32::try_from(index).map_err(|_| PlanErrorKind::ImageTooLarge)
}
