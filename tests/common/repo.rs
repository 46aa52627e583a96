//! Repositories of every mode, written by libostree from described trees.

use std::fs;
use std::path::{Path, PathBuf};

use ostree::gio;
use ostree::glib;
use ostree::glib::prelude::{Cast as _, ToVariant as _};

use super::trees::{Item, Kind};

/// The modes that libostree can write.
pub(crate) const MODES: [ostree::RepoMode; 4] = [
    ostree::RepoMode::Bare,
    ostree::RepoMode::BareUser,
    ostree::RepoMode::BareUserOnly,
    ostree::RepoMode::Archive,
];

const NEVER: Option<&gio::Cancellable> = gio::Cancellable::NONE;

/// A repository that tests write to.
pub(crate) struct TestRepo {
    pub(crate) path: PathBuf,
    pub(crate) repo: ostree::Repo,
}

impl TestRepo {
    /// Makes an empty repository.
    pub(crate) fn create(path: &Path, mode: ostree::RepoMode) -> Self {
        let repo = ostree::Repo::new_for_path(path);
        fs::create_dir(path).unwrap();
        repo.create(mode, NEVER).unwrap();
        repo.set_disable_fsync(true);
        Self { path: path.to_owned(), repo }
    }

    /// Commits a tree to a branch and returns the commit's id.
    pub(crate) fn commit(&self, branch: &str, items: &[Item]) -> String {
        self.commit_with(branch, items, None)
    }

    /// Commits a tree with this `a{sv}`.
    pub(crate) fn commit_with(
        &self,
        branch: &str,
        items: &[Item],
        metadata: Option<&glib::Variant>,
    ) -> String {
        self.repo.prepare_transaction(NEVER).unwrap();
        let root = ostree::MutableTree::new();
        for item in items {
            self.add(&root, item);
        }
        let root = self.repo.write_mtree(&root, NEVER).unwrap();
        let root = root.downcast_ref::<ostree::RepoFile>().unwrap();
        let commit =
            self.repo.write_commit_with_time(None, Some("test"), None, metadata, root, 0, NEVER).unwrap();
        self.repo.transaction_set_ref(None, branch, Some(&commit));
        self.repo.commit_transaction(NEVER).unwrap();
        commit.to_string()
    }

    fn add(&self, root: &ostree::MutableTree, item: &Item) {
        let xattrs = xattrs_variant(item);
        let (uid, gid) = (item.uid, item.gid);
        let written = match &item.kind {
            Kind::Directory => {
                let [uid, gid, mode] = [uid, gid, item.mode].map(u32::to_be);
                let members = [uid.to_variant(), gid.to_variant(), mode.to_variant(), xattrs];
                let meta = glib::Variant::tuple_from_iter(members);
                let checksum =
                    self.repo.write_metadata(ostree::ObjectType::DirMeta, None, &meta, NEVER).unwrap();
                directory_of(root, &item.path).set_metadata_checksum(&checksum.to_hex());
                return;
            }
            Kind::File(content) => {
                self.repo.write_regfile_inline(None, uid, gid, item.mode, Some(&xattrs), content, NEVER)
            }
            Kind::Symlink(target) => self.repo.write_symlink(None, uid, gid, Some(&xattrs), target, NEVER),
        };
        let (parent, name) = item.path.rsplit_once('/').unwrap();
        directory_of(root, parent).replace_file(name, &written.unwrap()).unwrap();
    }
}

fn directory_of(root: &ostree::MutableTree, path: &str) -> ostree::MutableTree {
    path.split('/')
        .filter(|name| !name.is_empty())
        .fold(root.clone(), |directory, name| directory.ensure_dir(name).unwrap())
}

/// `a(ayay)`, in bytewise order as OSTree wants it.
fn xattrs_variant(item: &Item) -> glib::Variant {
    let mut xattrs = item.xattrs.clone();
    xattrs.sort();
    for (name, _) in &mut xattrs {
        name.push(0);
    }
    xattrs.to_variant()
}

/// The serialised `a(ayay)`.
pub(crate) fn xattr_bytes(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let item = Item { xattrs: xattrs.to_vec(), ..super::trees::file("/", "") };
    xattrs_variant(&item).data().to_vec()
}
