//! What is signed of a commit and where signatures are kept: its object, its detached metadata, and a new commit where
//! the signature of a commit needs one that holds the image's digest.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, ensure};
use fn_error_context::context;
use ostree::gio;
use ostree::glib::variant::ToVariant as _;
use ostree::glib::{Variant, VariantTy};
use ostree::prelude::Cast as _;
use ostree_seal_trust::commit::{KEY_DIGEST, KEY_INDEX, KEY_NOTES, KEY_PRODUCT, KEY_SIGNATURES};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::gvariant;
use ostree_seal_trust::names::Product;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};

use super::checksum::Checksum;
use super::source::Source;
use super::store::{Metadata, read_metadata};

/// What `sign --embed` adds to a commit's metadata.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// The digest of the commit's image.
    pub digest: Digest,
    /// What the image is meant for.
    pub product: Option<Product>,
    /// The release's place in the order of releases.
    pub index: Option<u64>,
}

impl Source {
    /// The bytes of a commit object: what ostree's signatures are made over.
    pub fn commit_bytes(&self, commit: &Checksum) -> anyhow::Result<Vec<u8>> {
        let mut buffer = Vec::new();
        Ok(read_metadata(&self.stores, commit, Metadata::Commit, &mut buffer)?.to_vec())
    }

    /// The `objects` directory, of this repository or of a parent of it, that has the commit.
    pub fn objects_of(&self, commit: &Checksum) -> anyhow::Result<BorrowedFd<'_>> {
        let hex = commit.to_string();
        let path = format!("{}/{}.commit", &hex[..2], &hex[2..]);
        let has =
            |objects: &OwnedFd| rustix::fs::statat(objects, &path, rustix::fs::AtFlags::empty()).is_ok();
        let store = self.stores.iter().find(|store| has(&store.objects));
        Ok(store.with_context(|| format!("commit {commit} is not in the repository"))?.objects.as_fd())
    }

    /// The notes in a commit's detached metadata, in their order.
    #[context("reading the notes of commit {commit}")]
    pub fn notes(&self, commit: &Checksum) -> anyhow::Result<Vec<String>> {
        let none = gio::Cancellable::NONE;
        let detached = self.repo.ostree().read_commit_detached_metadata(&commit.to_string(), none)?;
        let Some(detached) = detached else { return Ok(Vec::new()) };
        let notes = gvariant::Dictionary::parse(detached.data())?.get(KEY_NOTES)?;
        let notes = notes.map(gvariant::Value::texts).transpose()?;
        Ok(notes.unwrap_or_default().into_iter().map(str::to_owned).collect())
    }

    /// Puts a note into a commit's detached metadata: in place of the one it was made from, or behind the others. `make`
    /// gets the notes that are there and says which one is replaced; nobody else of this program writes meanwhile.
    #[context("adding a note to commit {commit}")]
    pub fn add_note<T>(
        &self,
        commit: &Checksum,
        make: impl FnOnce(&[String]) -> anyhow::Result<(Option<usize>, String, T)>,
    ) -> anyhow::Result<T> {
        let _lock = self.lock_detached()?;
        let mut detached = self.detached(commit)?;
        let mut notes = texts(detached.get(KEY_NOTES))?;
        let (place, note, value) = make(&notes)?;
        match place.and_then(|place| notes.get_mut(place)) {
            Some(old) => *old = note,
            None => notes.push(note),
        }
        detached.set(KEY_NOTES, notes.to_variant());
        self.write_detached(commit, &detached)?;
        Ok(value)
    }

    /// Adds a signature over the commit object as `ostree sign` keeps it. Says whether it was there before.
    #[context("adding a signature to commit {commit}")]
    pub fn add_signature(&self, commit: &Checksum, signature: &[u8; 64]) -> anyhow::Result<bool> {
        let _lock = self.lock_detached()?;
        let mut detached = self.detached(commit)?;
        let mut signatures: Vec<Vec<u8>> = match detached.get(KEY_SIGNATURES) {
            None => Vec::new(),
            Some(value) => value
                .get()
                .with_context(|| format!("{KEY_SIGNATURES} has type {} instead of aay", value.type_()))?,
        };
        if signatures.iter().any(|there| there == signature) {
            return Ok(true);
        }
        signatures.push(signature.to_vec());
        detached.set(KEY_SIGNATURES, signatures.to_variant());
        self.write_detached(commit, &detached)?;
        Ok(false)
    }

    /// Makes a commit that is like this one and holds the image's digest as well, and lets the branch point at it. It
    /// has the time of the old one, so that it doesn't depend on when it is made. Detached metadata stays behind:
    /// what it signs is the old commit.
    #[context("embedding the digest in a new commit on {branch}")]
    pub fn embed(&self, branch: &str, commit: &Checksum, embedded: &Embedded) -> anyhow::Result<Checksum> {
        let repo = self.repo.ostree();
        let none = gio::Cancellable::NONE;
        ensure!(
            repo.list_refs(None, none)?.contains_key(branch),
            "{branch} is not a branch of the repository"
        );
        let (root, _) = repo.read_commit(&commit.to_string(), none)?;
        let root =
            root.downcast::<ostree::RepoFile>().ok().context("libostree gave no tree of the commit")?;
        let old = repo.load_variant(ostree::ObjectType::Commit, &commit.to_string())?;
        let text =
            |place| old.child_value(place).str().expect("invariant: a commit has texts there").to_owned();
        let parent = ostree::commit_get_parent(&old);
        let metadata = with_embedded(&old.child_value(0), embedded)?;
        let new = with_transaction(repo, || {
            let new = repo.write_commit_with_time(
                parent.as_deref(),
                Some(&text(3)),
                Some(&text(4)),
                Some(&metadata),
                &root,
                ostree::commit_get_timestamp(&old),
                none,
            )?;
            repo.transaction_set_refspec(branch, Some(&new));
            Ok(new)
        })?;
        Checksum::from_hex(&new).context("libostree gave no commit id")
    }

    fn detached(&self, commit: &Checksum) -> anyhow::Result<Dictionary> {
        let repo = self.repo.ostree();
        let detached = repo.read_commit_detached_metadata(&commit.to_string(), gio::Cancellable::NONE)?;
        Ok(detached.map_or_else(Dictionary::default, |variant| Dictionary::of(&variant)))
    }

    fn write_detached(&self, commit: &Checksum, detached: &Dictionary) -> anyhow::Result<()> {
        let (repo, none) = (self.repo.ostree(), gio::Cancellable::NONE);
        Ok(repo.write_commit_detached_metadata(&commit.to_string(), Some(&detached.to_variant()), none)?)
    }

    /// Keeps two signers from losing each other's signature: libostree has no lock for reading, changing and writing
    /// detached metadata.
    fn lock_detached(&self) -> anyhow::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let objects = openat(self.repo.ostree().dfd_borrow(), "objects", flags, Mode::empty())?;
        flock(&objects, FlockOperation::LockExclusive)?;
        Ok(objects)
    }
}

/// Runs `work` in a transaction, which is taken back if it fails.
fn with_transaction<T>(repo: &ostree::Repo, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let none = gio::Cancellable::NONE;
    repo.prepare_transaction(none)?;
    match work() {
        Ok(value) => {
            repo.commit_transaction(none)?;
            Ok(value)
        }
        Err(error) => {
            repo.abort_transaction(none).context("taking the transaction back")?;
            Err(error)
        }
    }
}

fn with_embedded(metadata: &Variant, embedded: &Embedded) -> anyhow::Result<Variant> {
    let mut metadata = Dictionary::of(metadata);
    let mut add = |key: &str, value: Variant| match metadata.get(key) {
        Some(there) => ensure_same(key, there, &value),
        None => {
            metadata.set(key, value);
            Ok(())
        }
    };
    add(KEY_DIGEST, embedded.digest.0.as_slice().to_variant())?;
    if let Some(product) = &embedded.product {
        add(KEY_PRODUCT, product.as_str().to_variant())?;
    }
    if let Some(index) = embedded.index {
        // Little-endian on every machine, as the boot program reads it.
        add(KEY_INDEX, index.to_le().to_variant())?;
    }
    Ok(metadata.to_variant())
}

fn ensure_same(key: &str, there: &Variant, value: &Variant) -> anyhow::Result<()> {
    ensure!(there == value, "the commit's {key} is {there} already, which is not {value}");
    Ok(())
}

fn texts(value: Option<&Variant>) -> anyhow::Result<Vec<String>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    value.get().with_context(|| format!("{KEY_NOTES} has type {} instead of as", value.type_()))
}

/// `a{sv}` whose entries keep their order, so that what isn't ours stays as it is.
#[derive(Default)]
struct Dictionary(Vec<(String, Variant)>);

impl Dictionary {
    fn of(variant: &Variant) -> Self {
        let entry = |entry: Variant| {
            let key = entry.child_value(0).str().expect("invariant: the keys of a{sv} are texts").to_owned();
            (key, entry.child_value(1).child_value(0))
        };
        Self(variant.iter().map(entry).collect())
    }

    fn get(&self, key: &str) -> Option<&Variant> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn set(&mut self, key: &str, value: Variant) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, place)) => *place = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    fn to_variant(&self) -> Variant {
        let entries = self
            .0
            .iter()
            .map(|(key, value)| Variant::from_dict_entry(&key.to_variant(), &Variant::from_variant(value)));
        Variant::array_from_iter_with_type(VariantTy::VARDICT.element(), entries)
    }
}
