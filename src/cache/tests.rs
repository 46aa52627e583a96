use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ostree_seal_trust::digest::Digest;
use proptest::prelude::{any, prop, prop_assert, proptest};
use tempfile::TempDir;
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use super::build::checksum;
use super::format::{Attributes, Header, MAGIC, Record, VERSION};
use super::{Cache, PATIENCE, Scope};
use crate::repo::{Checksum, KeptMetadata, ObjectCache as _, ObjectInfo, ObjectKind, Xattrs};

struct Place {
    directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        Self { directory, path }
    }

    fn open(&self, scope: Scope) -> Cache {
        Cache::open(self.path.clone(), scope, KeptMetadata::FULL)
    }

    /// A cache with these entries on the disk.
    fn with(entries: &[(Checksum, ObjectInfo)]) -> Self {
        let place = Self::new();
        let cache = place.open(Scope::Repository);
        entries.iter().for_each(|(object, info)| cache.add(object, info));
        cache.save(|_| true).unwrap();
        place
    }

    fn ignored(&self) -> String {
        let cache = self.open(Scope::Repository);
        assert_eq!(cache.known.get_all(), 0);
        cache.ignored().unwrap().to_owned()
    }
}

impl super::load::Loaded {
    fn get_all(&self) -> usize {
        let known = |object| self.find(object).and_then(|number| self.info(number)).is_some();
        sample().iter().filter(|(object, _)| known(object)).count()
    }
}

fn get(cache: &Cache, object: &Checksum) -> Option<ObjectInfo> {
    cache.info(cache.find(object)?)
}

fn object(number: u64) -> Checksum {
    Checksum::of(&number.to_le_bytes())
}

fn regular(size: u64) -> ObjectKind {
    ObjectKind::Regular { size, digest: Digest(object(size).0) }
}

fn xattrs(pairs: &[(&str, &[u8])]) -> Xattrs {
    let list: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes().into(), (*value).into())).collect();
    Xattrs(list.into())
}

/// One of each kind.
fn sample() -> Vec<(Checksum, ObjectInfo)> {
    let label = xattrs(&[("security.selinux", b"system_u:object_r:bin_t:s0\0"), ("user.empty", b"")]);
    let info =
        |mode, xattrs: &Xattrs, kind| ObjectInfo { uid: 0, gid: 7, mode, xattrs: xattrs.clone(), kind };
    vec![
        (object(1), info(0o100644, &label, regular(1))),
        (object(2), info(0o100644, &label, ObjectKind::Empty)),
        (object(3), info(0o104755, &Xattrs::default(), regular(u64::MAX))),
        (object(4), info(0o120777, &label, ObjectKind::Symlink(b"a".as_slice().into()))),
        (object(5), info(0o120777, &Xattrs::default(), ObjectKind::Symlink(vec![b'x'; 4095].into()))),
        (object(6), ObjectInfo { uid: u32::MAX, ..info(0o100600, &label, regular(6)) }),
    ]
}

#[test]
fn what_was_added_is_known_the_next_time() {
    let place = Place::with(&sample());
    let cache = place.open(Scope::Repository);
    assert_eq!(cache.ignored(), None);
    for (object, info) in sample() {
        assert_eq!(get(&cache, &object), Some(info));
    }
    assert_eq!(get(&cache, &object(7)), None);
    assert_eq!(cache.hits(), 6);
}

#[test]
fn thousands_of_objects_are_found() {
    let place = Place::new();
    let info = |number: u64| ObjectInfo {
        uid: 0,
        gid: 0,
        mode: 0o100644,
        xattrs: xattrs(&[("user.n", &(number % 5).to_le_bytes())]),
        kind: regular(number + 1),
    };
    for round in 0..3 {
        let cache = place.open(Scope::Repository);
        (0..5000 * round).for_each(|number| assert_eq!(get(&cache, &object(number)), Some(info(number))));
        (5000 * round..5000 * (round + 1)).for_each(|number| {
            assert_eq!(get(&cache, &object(number)), None);
            cache.add(&object(number), &info(number));
        });
        cache.save(|_| false).unwrap();
    }
    // Equal xattrs in different places of the memory were written once.
    let bytes = fs::read(&place.path).unwrap();
    assert_eq!(Header::ref_from_prefix(&bytes).unwrap().0.attributes.get(), 5);
}

#[test]
fn an_object_that_is_added_twice_is_written_once() {
    let mut entries = sample();
    entries.extend(sample());
    let place = Place::with(&entries);
    assert_eq!(place.open(Scope::Repository).known.get_all(), 6);
}

#[test]
fn nothing_is_written_when_nothing_is_new() {
    let place = Place::with(&sample());
    let inode = fs::metadata(&place.path).unwrap().ino();
    let cache = place.open(Scope::Repository);
    get(&cache, &object(1));
    cache.save(|_| false).unwrap();
    assert_eq!(fs::metadata(&place.path).unwrap().ino(), inode);
    assert_eq!(place.open(Scope::Repository).known.get_all(), 6);
}

#[test]
fn no_file_is_an_empty_cache_without_a_reason() {
    let cache = Place::new().open(Scope::Repository);
    assert_eq!(cache.ignored(), None);
    assert_eq!(get(&cache, &object(1)), None);
}

#[test]
fn ignores_a_file_with_any_byte_changed() {
    let place = Place::with(&sample());
    let whole = fs::read(&place.path).unwrap();
    for at in 0..whole.len() {
        // The second word of the header means nothing yet.
        if (12..16).contains(&at) {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&place.path, &bytes).unwrap();
        place.ignored();
    }
}

#[test]
fn ignores_a_file_of_any_other_length() {
    let place = Place::with(&sample());
    let whole = fs::read(&place.path).unwrap();
    for len in 0..whole.len() {
        fs::write(&place.path, &whole[..len]).unwrap();
        place.ignored();
    }
    fs::write(&place.path, [whole.as_slice(), b"\0"].concat()).unwrap();
    assert_eq!(place.ignored(), "its length is not what its header says");
}

#[test]
fn a_header_that_promises_a_lot_allocates_nothing() {
    let mut header = Header::new_zeroed();
    header.magic = MAGIC;
    header.version.set(VERSION);
    for (records, text) in [(u64::MAX, 0), (0, u64::MAX), (1 << 31, 0), (u64::MAX / 80 + 1, 0)] {
        let place = Place::new();
        header.records.set(records);
        header.text.set(text);
        fs::write(&place.path, header.as_bytes()).unwrap();
        place.ignored();
    }
}

#[test]
fn ignores_the_cache_of_a_repository_with_another_view() {
    let place = Place::with(&sample());
    let other = crate::repo::KeptMetadata::without_xattrs();
    let cache = Cache::open(place.path.clone(), Scope::Repository, other);
    assert_eq!(get(&cache, &object(1)), None);
    assert!(cache.ignored().unwrap().contains("keeps owners or xattrs in another way"));
}

#[test]
fn ignores_a_file_that_others_may_write() {
    let place = Place::with(&sample());
    for mode in [0o646, 0o664, 0o666] {
        fs::set_permissions(&place.path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(place.ignored(), format!("others than its owner may write it (mode {mode:04o})"));
    }
}

#[test]
fn ignores_a_file_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP ignores_a_file_of_another_user: only root can give files away");
        return;
    }
    let place = Place::with(&sample());
    std::os::unix::fs::chown(&place.path, Some(12345), None).unwrap();
    assert_eq!(place.ignored(), "it belongs to user 12345, and not to root or user 0");
}

#[test]
fn ignores_what_is_no_regular_file() {
    let place = Place::with(&sample());
    let link = Place::new();
    symlink(&place.path, &link.path).unwrap();
    assert_eq!(link.ignored(), "it is a symlink");
    let directory = Place::new();
    fs::create_dir(&directory.path).unwrap();
    assert_eq!(directory.ignored(), "it is not a regular file");
}

#[test]
fn writes_a_file_that_it_reads_itself_and_leaves_nothing_beside_it() {
    let place = Place::with(&sample());
    let mode = fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0);
    let names: Vec<_> = fs::read_dir(place.directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn says_when_it_cannot_be_written() {
    let cache = Cache::open(Path::new("/nowhere/cache").into(), Scope::Shared, KeptMetadata::FULL);
    let (object, info) = sample().remove(0);
    cache.add(&object, &info);
    assert_eq!(cache.save(|_| true).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

/// One conversion that needs object `new`, which nobody knows, and objects 1 and 2.
fn round(place: &Place, scope: Scope, new: u64, present: impl Fn(&Checksum) -> bool) {
    let cache = place.open(scope);
    assert!(get(&cache, &object(1)).is_some() && get(&cache, &object(2)).is_some());
    cache.add(&object(new), &sample()[0].1);
    cache.save(present).unwrap();
}

#[test]
fn forgets_what_was_pruned_from_the_repository() {
    let place = Place::with(&sample());
    round(&place, Scope::Repository, 100, |checked| *checked == object(3));
    let cache = place.open(Scope::Repository);
    let known: Vec<_> = (1..=6).filter(|number| get(&cache, &object(*number)).is_some()).collect();
    assert_eq!(known, [1, 2, 3]);
}

#[test]
fn a_shared_cache_is_patient_with_what_one_repository_lacks() {
    let place = Place::with(&sample());
    for new in 0..u64::from(PATIENCE) {
        round(&place, Scope::Shared, 100 + new, |_| false);
    }
    let before = fs::read(&place.path).unwrap();
    assert!(get(&place.open(Scope::Shared), &object(6)).is_some());
    // The last chance was not used: nothing was written since.
    assert_eq!(fs::read(&place.path).unwrap(), before);
    round(&place, Scope::Shared, 200, |_| false);
    let cache = place.open(Scope::Shared);
    assert!(get(&cache, &object(6)).is_none() && get(&cache, &object(1)).is_some());
}

proptest! {
    /// Someone may well make a file with a right checksum.
    #[test]
    fn garbage_with_a_right_checksum_never_panics(
        mut records in prop::collection::vec(any::<[u8; size_of::<Record>()]>(), 0..20),
        attributes in prop::collection::vec(any::<[u8; size_of::<Attributes>()]>(), 0..4),
        small in any::<bool>(),
        text in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        records.sort_unstable();
        let mut records: Vec<_> =
            records.iter().map(|bytes| Record::read_from_bytes(bytes).unwrap()).collect();
        let mut attributes: Vec<_> =
            attributes.iter().map(|bytes| Attributes::read_from_bytes(bytes).unwrap()).collect();
        if small {
            // Numbers that nearly fit get further than random ones.
            for record in &mut records {
                record.attributes.set(record.attributes.get() % 4);
                record.size.set(record.size.get() % 200);
                record.digest[2..8].fill(0);
            }
            for attributes in &mut attributes {
                attributes.mode.set(if attributes.uid.get() % 2 == 0 { 0o120777 } else { 0o100644 });
                attributes.xattrs.set(attributes.xattrs.get() % 2);
                attributes.text.set(attributes.text.get() % 200);
            }
        }
        let mut header = Header::new_zeroed();
        header.magic = MAGIC;
        header.version.set(VERSION);
        header.records.set(records.len() as u64);
        header.attributes.set(u32::try_from(attributes.len()).unwrap());
        header.text.set(text.len() as u64);
        let parts = [records.as_bytes(), attributes.as_bytes(), &text];
        header.checksum.set(checksum(&header, &parts));
        let place = Place::new();
        fs::write(&place.path, [header.as_bytes(), parts[0], parts[1], parts[2]].concat()).unwrap();
        let cache = place.open(Scope::Shared);
        for record in &records {
            let info = get(&cache, &Checksum(record.object));
            prop_assert!(cache.ignored().is_none() || info.is_none());
        }
        cache.add(&object(1), &sample()[0].1);
        cache.save(|_| true).unwrap();
    }
}
