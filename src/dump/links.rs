//! Hard links of a dump. A link may stand before its target and lead to another link, so they are resolved at the end.

use std::collections::HashMap;

use super::error::{DumpError, DumpErrorKind, Field};
use crate::tree::{Content, DirectoryId, NodeId, Role, Span, Tree, TreeError};

/// The links read so far.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: Vec<Link>,
    /// All targets, one behind the other.
    targets: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    line: u64,
    parent: NodeId,
    name: Span,
    /// End of its target in `targets`; it starts where the one before ends.
    target_end: usize,
}

/// What a target path leads to.
enum LinkEnd {
    Node(NodeId),
    Link(usize),
}

impl Links {
    pub(super) fn add(&mut self, line: u64, (parent, name): (NodeId, Span), target: &[u8]) {
        self.targets.extend_from_slice(target);
        self.links.push(Link { line, parent, name, target_end: self.targets.len() });
    }

    /// Sorts the tree and puts the links into it.
    pub(super) fn resolve(self, tree: &mut Tree) -> Result<(), DumpError> {
        tree.sort().map_err(|error| self.duplicate(tree, error))?;
        if self.links.is_empty() {
            return Ok(());
        }
        let resolved = self.resolve_all(tree)?;
        for (link, node) in self.links.iter().zip(resolved) {
            let inserted = tree.insert(link.parent, link.name, node, Role::Link);
            inserted.map_err(|error| link.error(Field::Path, error.into()))?;
        }
        tree.sort().map_err(|error| self.duplicate(tree, error))
    }

    /// The node behind each link.
    fn resolve_all(&self, tree: &Tree) -> Result<Vec<NodeId>, DumpError> {
        let names =
            self.links.iter().enumerate().map(|(index, link)| ((link.parent, &tree[link.name]), index));
        let names: HashMap<_, _> = names.collect();
        let mut resolved: Vec<Option<NodeId>> = vec![None; self.links.len()];
        let mut entered = vec![false; self.links.len()];
        let mut chain = Vec::new();
        for start in 0..self.links.len() {
            let mut at = start;
            let node = loop {
                if let Some(node) = resolved[at] {
                    break node;
                }
                if std::mem::replace(&mut entered[at], true) {
                    return Err(self.links[at].error(Field::Payload, DumpErrorKind::LinkCycle));
                }
                chain.push(at);
                match self.lookup(tree, &names, at)? {
                    LinkEnd::Node(node) => break node,
                    LinkEnd::Link(next) => at = next,
                }
            };
            chain.drain(..).for_each(|link| resolved[link] = Some(node));
        }
        Ok(resolved.into_iter().flatten().collect())
    }

    /// What the target of a link names: a node that is no directory, or another link.
    fn lookup(
        &self,
        tree: &Tree,
        names: &HashMap<(NodeId, &[u8]), usize>,
        index: usize,
    ) -> Result<LinkEnd, DumpError> {
        let link = &self.links[index];
        let target = self.target(index);
        let missing = || {
            let target = String::from_utf8_lossy(target).into_owned();
            link.error(Field::Payload, DumpErrorKind::TargetMissing(target))
        };
        let mut at = LinkEnd::Node(Tree::ROOT);
        for component in target.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            let LinkEnd::Node(node) = at else { return Err(missing()) };
            let Content::Directory(directory) = tree[node].content else { return Err(missing()) };
            at = match (tree.lookup(directory, component), names.get(&(node, component))) {
                (Some(entry), _) => LinkEnd::Node(entry.node),
                (None, Some(link)) => LinkEnd::Link(*link),
                (None, None) => return Err(missing()),
            };
        }
        match at {
            LinkEnd::Node(node) if matches!(tree[node].content, Content::Directory(_)) => {
                Err(link.error(Field::Payload, DumpErrorKind::DirectoryLink))
            }
            found => Ok(found),
        }
    }

    fn target(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.links[before].target_end);
        &self.targets[start..self.links[index].target_end]
    }

    /// The error for a name that is twice in a directory, at the later of the two lines.
    fn duplicate(&self, tree: &Tree, (directory, error): (DirectoryId, TreeError)) -> DumpError {
        let line = match &error {
            TreeError::DuplicateName(name) => {
                let entries = tree.entries(directory).iter().filter(|entry| tree[entry.name] == **name);
                let lines = entries.map(|entry| match entry.role {
                    Role::Place => self.line_of_node(entry.node),
                    Role::Link => self.line_of_link(entry.name),
                });
                lines.max().unwrap_or_default()
            }
            _ => 0,
        };
        DumpError { line, field: Some(Field::Path), reason: error.into() }
    }

    fn line_of_link(&self, name: Span) -> u64 {
        self.links.iter().find(|link| link.name == name).map_or(0, |link| link.line)
    }

    /// Each line is a node or a link, so the links before a node tell its line.
    fn line_of_node(&self, node: NodeId) -> u64 {
        let line = node.index() as u64 + 1;
        self.links.iter().fold(line, |line, link| line + u64::from(link.line <= line))
    }
}

impl Link {
    fn error(&self, field: Field, reason: DumpErrorKind) -> DumpError {
        DumpError { line: self.line, field: Some(field), reason }
    }
}
