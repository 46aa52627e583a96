//! The xattrs of an image: which pairs are shared, and the bytes of the areas and of the table. README.md, "Xattrs".

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use ostree_seal_trust::digest::Digest;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use super::error::PlanErrorKind;
use super::format::{EROFS_XATTR_FILTER_DEFAULT, OvlMetacopy, XattrEntry, XattrIbodyHeader};
use super::overlay::{self, ACL_NAMES, METACOPY, REDIRECT, REDIRECT_ROOT};
use super::sets::{FIXED, PairId, Rank, SetId, Sets, StoredName, place};
use crate::tree::{BackingId, Tree, XattrId};

/// Most shared ids in one inode.
const SHARED_MAX: usize = 128;
/// Pairs that so many inodes have are shared.
const SHARED_USES: u64 = 2;

/// A value as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'t> {
    Bytes(&'t [u8]),
    Metacopy(Option<&'t Digest>),
    Redirect(&'t [u8]),
}

/// An entry of the shared table.
#[derive(Debug, Clone, Copy)]
enum Shared {
    Pair(PairId),
    Metacopy(BackingId),
    Redirect(BackingId),
}

/// Place in the shared table in units of 4 bytes, [`UNSHARED`] if not there.
type SharedPlace = u32;
const UNSHARED: SharedPlace = u32::MAX;

/// The xattr part of a plan.
pub(super) struct Xattrs {
    names: Vec<StoredName>,
    metacopy: Rank,
    redirect: Rank,
    pair_names: Vec<Rank>,
    fixed: HashMap<XattrId, PairId>,
    sets: Vec<(u32, u32)>,
    members: Vec<PairId>,
    pair_places: Vec<SharedPlace>,
    metacopy_places: Vec<SharedPlace>,
    redirect_places: Vec<SharedPlace>,
    table: Vec<Shared>,
    /// Bytes of the shared table.
    pub(super) table_size: u64,
    /// Whether any inode has a POSIX ACL.
    pub(super) has_acl: bool,
}

impl Xattrs {
    /// Decides what is shared, once every inode has joined its set.
    pub(super) fn new(sets: Sets<'_>) -> Result<Self, PlanErrorKind> {
        let rank_of = |name: &[u8]| place(sets.names.partition_point(|other| *other.text < *name));
        let mut xattrs = Self {
            metacopy: rank_of(METACOPY)?,
            redirect: rank_of(REDIRECT)?,
            names: sets.names,
            pair_places: vec![UNSHARED; sets.pair_names.len()],
            pair_names: sets.pair_names,
            fixed: sets.fixed,
            sets: sets.sets,
            members: sets.members,
            metacopy_places: Vec::new(),
            redirect_places: Vec::new(),
            table: Vec::new(),
            table_size: 0,
            has_acl: false,
        };
        let pair_uses = xattrs.pair_uses(&sets.uses);
        let is_acl = |rank: Rank| ACL_NAMES.contains(&&*xattrs.names[rank as usize].text);
        xattrs.has_acl =
            pair_uses.iter().any(|(pair, uses)| *uses > 0 && is_acl(xattrs.pair_names[pair.index()]));
        let pairs = pair_uses.iter().filter(|(_, uses)| *uses >= SHARED_USES).map(|(pair, _)| *pair);
        for pair in pairs {
            xattrs.pair_places[pair.index()] = place(xattrs.table.len())?;
            xattrs.table.push(Shared::Pair(pair));
        }
        xattrs.share_backings(sets.tree, &sets.backing_uses)?;
        xattrs.arrange_table(sets.tree)?;
        Ok(xattrs)
    }

    /// How many inodes have each pair.
    fn pair_uses(&self, set_uses: &[u32]) -> Vec<(PairId, u64)> {
        let mut uses: Vec<(PairId, u64)> = Vec::new();
        let mut counts = vec![0; self.pair_names.len()];
        for (&(start, len), &set_uses) in self.sets.iter().zip(set_uses) {
            for pair in &self.members[start as usize..][..len as usize] {
                if counts[pair.index()] == 0 {
                    uses.push((*pair, 0));
                }
                counts[pair.index()] += u64::from(set_uses);
            }
        }
        uses.iter_mut().for_each(|(pair, uses)| *uses = counts[pair.index()]);
        uses
    }

    /// Puts the metacopy and redirect values that are used often enough into the table, as yet in no order.
    fn share_backings(&mut self, tree: &Tree, uses: &[u32]) -> Result<(), PlanErrorKind> {
        let hasher = RandomState::new();
        let table = &mut self.table;
        let metacopy = |id: BackingId| Some(tree[id].digest);
        self.metacopy_places = share_equal(uses, tree, (&hasher, metacopy), |id| {
            table.push(Shared::Metacopy(id));
            place(table.len() - 1)
        })?;
        let redirect = |id: BackingId| Some(&tree[tree[id].payload]).filter(|payload| !payload.is_empty());
        self.redirect_places = share_equal(uses, tree, (&hasher, redirect), |id| {
            table.push(Shared::Redirect(id));
            place(table.len() - 1)
        })?;
        Ok(())
    }

    /// Brings the table into its order, descending by name, length and bytes, and turns numbers of entries into places.
    fn arrange_table(&mut self, tree: &Tree) -> Result<(), PlanErrorKind> {
        let mut order: Vec<u32> = (0..place(self.table.len())?).collect();
        order.sort_unstable_by(|a, b| {
            let [a, b] = [a, b].map(|number| self.shared(tree, self.table[*number as usize]));
            let key = |(rank, value): (Rank, Value<'_>)| (rank, value.len());
            key(b).cmp(&key(a)).then_with(|| b.1.order().cmp(a.1.order()))
        });
        let mut places = vec![UNSHARED; order.len()];
        let mut at = 0_u64;
        for number in &order {
            let (rank, value) = self.shared(tree, self.table[*number as usize]);
            places[*number as usize] = u32::try_from(at / 4).map_err(|_| PlanErrorKind::ImageTooLarge)?;
            at += self.names[rank as usize].entry_size(value.len());
        }
        self.table_size = at;
        self.table = order.iter().map(|number| self.table[*number as usize]).collect();
        let all = [&mut self.pair_places, &mut self.metacopy_places, &mut self.redirect_places];
        for number in all.into_iter().flatten().filter(|number| **number != UNSHARED) {
            *number = places[*number as usize];
        }
        Ok(())
    }

    fn shared<'t>(&self, tree: &'t Tree, shared: Shared) -> (Rank, Value<'t>) {
        match shared {
            Shared::Pair(pair) => (self.pair_names[pair.index()], Value::of(tree, pair)),
            Shared::Metacopy(id) => (self.metacopy, Value::Metacopy(tree[id].digest.as_ref())),
            Shared::Redirect(id) => (self.redirect, Value::Redirect(&tree[tree[id].payload])),
        }
    }

    /// Calls `visit` with each xattr of an inode in bytewise order of the names, and its place if it is shared.
    fn visit<'t>(
        &self,
        tree: &'t Tree,
        of: InodeXattrs,
        mut visit: impl FnMut(Rank, Value<'t>, Option<SharedPlace>),
    ) {
        let mut shared = 0;
        let mut visit = |rank, value, place| {
            let is_shared = place != UNSHARED && shared < SHARED_MAX;
            shared += usize::from(is_shared);
            visit(rank, value, is_shared.then_some(place));
        };
        let metacopy = of.backing.map(|id| {
            (self.metacopy, Value::Metacopy(tree[id].digest.as_ref()), self.metacopy_places[id.index()])
        });
        let redirect = of.backing.filter(|id| !tree[*id].payload.is_empty()).map(|id| {
            (self.redirect, Value::Redirect(&tree[tree[id].payload]), self.redirect_places[id.index()])
        });
        let mut added = metacopy.into_iter().chain(redirect).peekable();
        let (start, len) = self.sets[of.set.index()];
        for pair in &self.members[start as usize..][..len as usize] {
            let rank = self.pair_names[pair.index()];
            while let Some((rank, value, place)) = added.next_if(|(added, ..)| *added < rank) {
                visit(rank, value, place);
            }
            visit(rank, Value::of(tree, *pair), self.pair_places[pair.index()]);
        }
        added.for_each(|(rank, value, place)| visit(rank, value, place));
    }

    /// Bytes of an inode's xattr area: 0 without any xattr.
    pub(super) fn area_size(&self, tree: &Tree, of: InodeXattrs) -> u64 {
        let mut size = 0;
        self.visit(tree, of, |rank, value, place| {
            size += match place {
                Some(_) => size_of::<U32>() as u64,
                None => self.names[rank as usize].entry_size(value.len()),
            };
        });
        if size == 0 { 0 } else { size_of::<XattrIbodyHeader>() as u64 + size }
    }

    /// Appends an inode's xattr area. `table` is the table's own place in its first block, in units of 4 bytes.
    pub(super) fn write_area(&self, tree: &Tree, of: InodeXattrs, table: u32, out: &mut Vec<u8>) {
        let header = out.len();
        let mut filter = EROFS_XATTR_FILTER_DEFAULT;
        let mut shared_count = 0;
        out.extend_from_slice(&[0; size_of::<XattrIbodyHeader>()]);
        self.visit(tree, of, |rank, _, place| {
            filter &= !self.names[rank as usize].filter;
            if let Some(place) = place {
                shared_count += 1;
                out.extend_from_slice(U32::new(table + place).as_bytes());
            }
        });
        if filter == EROFS_XATTR_FILTER_DEFAULT {
            out.truncate(header);
            return;
        }
        let record = XattrIbodyHeader {
            h_name_filter: U32::new(filter),
            h_shared_count: shared_count,
            h_reserved2: [0; 7],
        };
        out[header..][..size_of::<XattrIbodyHeader>()].copy_from_slice(record.as_bytes());
        self.visit(tree, of, |rank, value, place| {
            if place.is_none() {
                write_entry(&self.names[rank as usize], value, out);
            }
        });
    }

    /// The input's xattrs of an inode as they lie in the image: the inline ones, then the shared ones.
    pub(super) fn stored_order(&self, tree: &Tree, of: InodeXattrs, own: &[XattrId]) -> Vec<XattrId> {
        let rank = |id: &XattrId| {
            let pair = self.fixed.get(id).copied().unwrap_or(PairId::Tree(*id));
            self.pair_names[pair.index()]
        };
        let mut own: Vec<(Rank, XattrId)> = own.iter().map(|id| (rank(id), *id)).collect();
        own.sort_unstable();
        let mut own = own.into_iter().peekable();
        let (mut inline, mut shared) = (Vec::with_capacity(own.len()), Vec::new());
        self.visit(tree, of, |rank, _, place| {
            if let Some((_, id)) = own.next_if(|(own, _)| *own == rank) {
                if place.is_none() { &mut inline } else { &mut shared }.push(id);
            }
        });
        inline.append(&mut shared);
        inline
    }

    /// Number of entries in the shared table.
    pub(super) fn table_len(&self) -> usize {
        self.table.len()
    }

    /// Appends one entry of the shared table.
    pub(super) fn write_shared(&self, tree: &Tree, number: usize, out: &mut Vec<u8>) {
        let (rank, value) = self.shared(tree, self.table[number]);
        write_entry(&self.names[rank as usize], value, out);
    }
}

/// Whose xattrs: a final set, and the backing file of an external file.
#[derive(Debug, Clone, Copy)]
pub(super) struct InodeXattrs {
    pub(super) set: SetId,
    pub(super) backing: Option<BackingId>,
}

/// Gives each value that inodes use often enough a number through `add`, and the number to each backing file with it.
fn share_equal<K: Ord + Hash>(
    uses: &[u32],
    tree: &Tree,
    (hasher, key): (&RandomState, impl Fn(BackingId) -> Option<K>),
    mut add: impl FnMut(BackingId) -> Result<SharedPlace, PlanErrorKind>,
) -> Result<Vec<SharedPlace>, PlanErrorKind> {
    let used = tree.backings().filter(|(id, _)| uses[id.index()] > 0);
    let mut hashes: Vec<(u64, BackingId)> =
        used.filter_map(|(id, _)| key(id).map(|key| (hasher.hash_one(key), id))).collect();
    hashes.sort_unstable();
    let mut places = vec![UNSHARED; uses.len()];
    for run in hashes.chunk_by_mut(|a, b| a.0 == b.0) {
        if run.len() > 1 {
            run.sort_unstable_by_key(|(_, id)| (key(*id), *id));
        }
        for equal in run.chunk_by(|a, b| key(a.1) == key(b.1)) {
            let total: u64 = equal.iter().map(|(_, id)| u64::from(uses[id.index()])).sum();
            if total >= SHARED_USES {
                let place = add(equal[0].1)?;
                equal.iter().for_each(|(_, id)| places[id.index()] = place);
            }
        }
    }
    Ok(places)
}

impl<'t> Value<'t> {
    fn of(tree: &'t Tree, pair: PairId) -> Self {
        match pair {
            PairId::Fixed(index) => Self::Bytes(FIXED[usize::from(index)].1),
            PairId::Tree(id) => Self::Bytes(&tree[tree[id].value]),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Metacopy(None) => 0,
            Self::Metacopy(Some(_)) => size_of::<OvlMetacopy>(),
            Self::Redirect(payload) => REDIRECT_ROOT.len() + payload.len(),
        }
    }

    /// Bytes that decide the order among values of one name and one length.
    fn order(self) -> &'t [u8] {
        match self {
            Self::Bytes(bytes) | Self::Redirect(bytes) => bytes,
            Self::Metacopy(digest) => digest.map_or(&[], |digest| &digest.0),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Metacopy(None) => {}
            Self::Metacopy(Some(digest)) => out.extend_from_slice(overlay::metacopy(digest).as_bytes()),
            Self::Redirect(payload) => {
                out.extend_from_slice(REDIRECT_ROOT);
                out.extend_from_slice(payload);
            }
        }
    }
}

impl StoredName {
    /// Bytes of an entry with this name, padding included.
    fn entry_size(&self, value_len: usize) -> u64 {
        (size_of::<XattrEntry>() + self.suffix().len() + value_len).next_multiple_of(4) as u64
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a tree has no longer names and values: XATTR_NAME_MAX, \
    XATTR_VALUE_MAX; escaping makes a name 8 bytes longer and takes 8 bytes of prefix off"
)]
fn write_entry(name: &StoredName, value: Value<'_>, out: &mut Vec<u8>) {
    let suffix = name.suffix();
    let entry = XattrEntry {
        e_name_len: suffix.len() as u8,
        e_name_index: name.index,
        e_value_size: U16::new(value.len() as u16),
    };
    out.extend_from_slice(entry.as_bytes());
    out.extend_from_slice(suffix);
    value.write(out);
    let size = size_of::<XattrEntry>() + suffix.len() + value.len();
    out.resize(out.len() + size.next_multiple_of(4) - size, 0);
}
