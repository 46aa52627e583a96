//! Extents behind the last one of a file: only the right edge of its extent tree changes, and nothing of it in its place. Nodes
//! that change get blocks of their own, so that the inode goes from the old tree to the new one with one write.

use zerocopy::{FromBytes as _, IntoBytes as _};

use super::disk::Disk;
use super::error::{Error, Result};
use super::extents::{child_of, entries, header, node_checksum};
use super::format::{
    BLOCK_LEN, ENTRY, EXT4_EXT_MAGIC, EXT4_MAX_EXTENT_DEPTH, ExtentHeader, ExtentRecord, IndexRecord,
};
use super::free::Run;
use super::inode::Inode;
use super::superblock::Geometry;

/// Entries that a node in a block of its own has room for; four bytes are left for its checksum.
const NODE_MAX: u16 = 340;
const _: () = assert!((NODE_MAX as usize + 1) * ENTRY + size_of::<u32>() == BLOCK_LEN);

/// An extent tree with more extents.
#[derive(Debug)]
pub(super) struct Appended {
    /// What goes into the inode.
    pub(super) root: [u8; 60],
    /// New nodes, with the blocks that they go to.
    pub(super) nodes: Vec<(u64, [u8; BLOCK_LEN])>,
    /// Blocks of nodes that aren't part of the tree any more.
    pub(super) freed: Vec<u64>,
}

/// Appends runs of blocks from a logical block on. Blocks for new nodes come from `allocate`; nothing is written.
pub(super) fn append(
    (disk, geometry): (&Disk<'_>, &Geometry),
    inode: &Inode,
    (mut logical, runs): (u32, &[Run]),
    allocate: &mut dyn FnMut() -> Result<u64>,
) -> Result<Appended> {
    let mut edge = Edge::read(disk, inode)?;
    for run in runs {
        let odd = || Error::damaged(format_args!("inode {} would be too large", inode.number()));
        let len = u16::try_from(run.len).map_err(|_| odd())?;
        edge.append(record(logical, run.start, len), allocate)?;
        logical = logical.checked_add(len.into()).ok_or_else(odd)?;
    }
    edge.finish(geometry.checksums.map(|seed| inode.seed(seed)))
}

fn record(logical: u32, start: u64, len: u16) -> ExtentRecord {
    let (high, low) = halves(start);
    ExtentRecord {
        ee_block: logical.into(),
        ee_len: len.into(),
        ee_start_hi: high.into(),
        ee_start_lo: low.into(),
    }
}

fn index(logical: u32, child: u64) -> IndexRecord {
    let (high, low) = halves(child);
    IndexRecord {
        ei_block: logical.into(),
        ei_leaf_lo: low.into(),
        ei_leaf_hi: high.into(),
        ei_unused: 0.into(),
    }
}

/// A block number of 48 bits.
fn halves(block: u64) -> (u16, u32) {
    let [a, b, c, d, e, f, ..] = block.to_le_bytes();
    (u16::from_le_bytes([e, f]), u32::from_le_bytes([a, b, c, d]))
}

/// A node of the tree.
struct Node {
    /// Its block; the root has none.
    block: u64,
    bytes: Vec<u8>,
    /// Whether no inode points at it yet.
    is_new: bool,
}

impl Node {
    fn new(block: u64, depth: u16) -> Self {
        let mut node = Self { block, bytes: vec![0; BLOCK_LEN], is_new: true };
        node.set_header(0, NODE_MAX, depth);
        node
    }

    fn header(&self) -> ExtentHeader {
        // A node is never shorter than its header.
        ExtentHeader::read_from_prefix(&self.bytes)
            .map_or_else(|_| zerocopy::FromZeros::new_zeroed(), |(header, _)| header)
    }

    fn set_header(&mut self, count: u16, max: u16, depth: u16) {
        let header = ExtentHeader {
            eh_magic: EXT4_EXT_MAGIC.into(),
            eh_entries: count.into(),
            eh_max: max.into(),
            eh_depth: depth.into(),
            eh_generation: self.header().eh_generation,
        };
        self.bytes[..ENTRY].copy_from_slice(header.as_bytes());
    }

    fn is_full(&self) -> bool {
        self.header().eh_entries >= self.header().eh_max
    }

    /// Has the last entry of an index point at another block.
    fn point_last_at(&mut self, child: u64) {
        let at = ENTRY * usize::from(self.header().eh_entries.get());
        let logical = self.bytes[at..].first_chunk().map_or(0, |first| u32::from_le_bytes(*first));
        self.bytes[at..at + ENTRY].copy_from_slice(index(logical, child).as_bytes());
    }

    fn push(&mut self, entry: &[u8]) {
        let header = self.header();
        let count = header.eh_entries.get();
        self.bytes[ENTRY * (usize::from(count) + 1)..][..ENTRY].copy_from_slice(entry);
        self.set_header(count + 1, header.eh_max.get(), header.eh_depth.get());
    }
}

/// The right edge of an extent tree, from the root to the last leaf, and the nodes that were on it.
struct Edge {
    inode: u32,
    nodes: Vec<Node>,
    done: Vec<Node>,
    freed: Vec<u64>,
}

impl Edge {
    fn read(disk: &Disk<'_>, inode: &Inode) -> Result<Self> {
        let root = Node { block: 0, bytes: inode.i_block().to_vec(), is_new: true };
        let mut edge = Self { inode: inode.number(), nodes: vec![root], done: Vec::new(), freed: Vec::new() };
        // The tree was read before: it has as many levels as it says, and no node below the root is empty.
        for _ in 0..EXT4_MAX_EXTENT_DEPTH {
            let last = edge.nodes.last().map(|node| node.bytes.as_slice()).unwrap_or_default();
            let header = header(last, inode.number())?;
            if header.eh_depth.get() == 0 {
                break;
            }
            let Some(entry) = entries::<IndexRecord>(last, &header).pop() else { break };
            let block = child_of(&entry);
            edge.nodes.push(Node { block, bytes: disk.block(block)?.to_vec(), is_new: false });
        }
        Ok(edge)
    }

    fn append(&mut self, extent: ExtentRecord, allocate: &mut dyn FnMut() -> Result<u64>) -> Result<()> {
        let with_room = self.nodes.iter().rposition(|node| !node.is_full());
        let at = match with_room {
            Some(at) => at,
            None => self.grow(allocate)?,
        };
        self.renew(at, allocate)?;
        let depth = self.nodes[at].header().eh_depth.get();
        if depth == 0 {
            self.nodes[at].push(extent.as_bytes());
            return Ok(());
        }
        // A new branch to the right, from the leaf upwards.
        self.done.extend(self.nodes.drain(at + 1..));
        let logical = extent.ee_block.get();
        let mut branch = Vec::new();
        let mut below = extent.as_bytes().to_vec();
        for level in 0..depth {
            let block = allocate()?;
            let mut node = Node::new(block, level);
            node.push(&below);
            below = index(logical, block).as_bytes().to_vec();
            branch.push(node);
        }
        self.nodes[at].push(&below);
        self.nodes.extend(branch.into_iter().rev());
        Ok(())
    }

    /// Gives the nodes from the root to this place blocks of their own. Each is the last entry of the one above it.
    fn renew(&mut self, at: usize, allocate: &mut dyn FnMut() -> Result<u64>) -> Result<()> {
        for place in 1..=at {
            if self.nodes[place].is_new {
                continue;
            }
            let block = allocate()?;
            self.freed.push(std::mem::replace(&mut self.nodes[place].block, block));
            self.nodes[place].is_new = true;
            self.nodes[place - 1].point_last_at(block);
        }
        Ok(())
    }

    /// Moves what the full root has into a block of its own; the place of a node that has room then.
    fn grow(&mut self, allocate: &mut dyn FnMut() -> Result<u64>) -> Result<usize> {
        let root = &mut self.nodes[0];
        let header = root.header();
        let (count, depth) = (header.eh_entries.get(), header.eh_depth.get());
        if depth >= EXT4_MAX_EXTENT_DEPTH {
            return Err(Error::damaged(format_args!(
                "inode {} has an extent tree of too many levels",
                self.inode
            )));
        }
        let mut node = Node::new(allocate()?, depth);
        let len = ENTRY * usize::from(count);
        node.bytes[ENTRY..ENTRY + len].copy_from_slice(&root.bytes[ENTRY..ENTRY + len]);
        node.set_header(count, NODE_MAX, depth);
        // Leaves and indexes both begin with their logical block.
        let first = root.bytes[ENTRY..].first_chunk().map_or(0, |first| u32::from_le_bytes(*first));
        root.bytes[ENTRY..].fill(0);
        root.set_header(0, header.eh_max.get(), depth + 1);
        root.push(index(first, node.block).as_bytes());
        self.nodes.insert(1, node);
        Ok(1)
    }

    fn finish(self, seed: Option<u32>) -> Result<Appended> {
        let mut nodes = self.nodes.into_iter();
        let root = nodes.next().and_then(|root| root.bytes.try_into().ok());
        let root =
            root.ok_or_else(|| Error::damaged(format_args!("inode {} has no extent tree", self.inode)))?;
        let mut written = Vec::new();
        for node in self.done.into_iter().chain(nodes).filter(|node| node.is_new) {
            let max = node.header().eh_max.get();
            let mut bytes = [0; BLOCK_LEN];
            bytes.copy_from_slice(&node.bytes);
            if let Some(seed) = seed {
                let (at, checksum) = node_checksum(&bytes, max, seed);
                bytes[at..at + size_of::<u32>()].copy_from_slice(&checksum.to_le_bytes());
            }
            written.push((node.block, bytes));
        }
        Ok(Appended { root, nodes: written, freed: self.freed })
    }
}
