use super::{
    Content, Metadata, Mtime, Role, TARGET_MAX, Tree, TreeError, XATTR_BUDGET, XATTR_VALUE_MAX, XattrsId,
    mode,
};

type Pair<'a> = (&'a [u8], &'a [u8]);

fn pairs<'a>(list: &'a [(&'a str, &'a str)]) -> Vec<Pair<'a>> {
    list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

#[test]
fn equal_xattr_sets_are_stored_once() {
    let mut tree = Tree::new();
    let first = tree.add_xattrs(&pairs(&[("user.b", "2"), ("user.a", "1")])).unwrap();
    let second = tree.add_xattrs(&pairs(&[("user.a", "1"), ("user.b", "2")])).unwrap();
    let other = tree.add_xattrs(&pairs(&[("user.a", "1u"), ("ser.b", "2")])).unwrap();
    assert_eq!(first, second);
    assert_ne!(first, other);
    assert_eq!(tree.xattrs(first).map(|xattr| &tree[xattr.name]).collect::<Vec<_>>(), [b"user.a", b"user.b"]);
}

#[test]
fn last_value_of_a_repeated_xattr_wins() {
    let mut tree = Tree::new();
    let set = tree.add_xattrs(&pairs(&[("user.a", "old"), ("user.b", ""), ("user.a", "new")])).unwrap();
    let values: Vec<&[u8]> = tree.xattrs(set).map(|xattr| &tree[xattr.value]).collect();
    assert_eq!(values, [b"new".as_slice(), b""]);
}

#[test]
fn refuses_xattrs_beyond_each_limit() {
    let long = vec![b'x'; XATTR_VALUE_MAX + 1];
    let mut tree = Tree::new();
    assert_eq!(tree.add_xattrs(&[(b"", b"")]), Err(TreeError::XattrName(0)));
    assert_eq!(tree.add_xattrs(&[(&long[..256], b"")]), Err(TreeError::XattrName(256)));
    assert_eq!(tree.add_xattrs(&[(b"user.a", &long)]), Err(TreeError::XattrValue(65536)));
    let fits = XATTR_BUDGET - 12 - 7 - 6;
    assert!(tree.add_xattrs(&[(b"user.a", &long[..fits])]).is_ok());
    assert_eq!(
        tree.add_xattrs(&[(b"user.a", &long[..fits + 1])]),
        Err(TreeError::XattrBudget(XATTR_BUDGET + 1))
    );
}

#[test]
fn refuses_names_and_targets_beyond_each_limit() {
    let long = vec![b'x'; TARGET_MAX + 1];
    let mut tree = Tree::new();
    assert_eq!(tree.add_name(b""), Err(TreeError::EmptyName));
    assert!(tree.add_name(&long[..255]).is_ok());
    assert_eq!(tree.add_name(&long[..256]), Err(TreeError::NameTooLong(256)));
    for name in [b".".as_slice(), b"..", b"a/b", b"a\0"] {
        assert_eq!(tree.add_name(name), Err(TreeError::ForbiddenName(name.to_vec())));
    }
    assert_eq!(tree.add_symlink(b""), Err(TreeError::EmptyTarget));
    assert!(tree.add_symlink(&long[..4095]).is_ok());
    assert_eq!(tree.add_symlink(&long), Err(TreeError::TargetTooLong(4096)));
    assert_eq!(tree.add_inline(&vec![0; 5001]), Err(TreeError::InlineTooLarge(5001)));
    assert_eq!(tree.add_backing(&long, None), Err(TreeError::TargetTooLong(4096)));
}

#[test]
fn sort_orders_bytewise_and_finds_duplicates() {
    let mut tree = Tree::new();
    let meta = Metadata {
        mode: mode::S_IFDIR | 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        mtime: Mtime::default(),
        xattrs: XattrsId::NONE,
    };
    let directory = tree.add_directory().unwrap();
    let root = tree.add_node(meta, directory).unwrap();
    let Content::Directory(id) = directory else { unreachable!() };
    for name in [b"b".as_slice(), b"\xff", b"a!", b"a"] {
        let name = tree.add_name(name).unwrap();
        tree.insert(root, name, root, Role::Link).unwrap();
    }
    tree.sort().unwrap();
    let names: Vec<&[u8]> = tree.entries(id).iter().map(|entry| &tree[entry.name]).collect();
    assert_eq!(names, [b"a".as_slice(), b"a!", b"b", b"\xff"]);
    assert!(tree.lookup(id, b"a!").is_some() && tree.lookup(id, b"a\"").is_none());

    let again = tree.add_name(b"a").unwrap();
    tree.insert(root, again, root, Role::Link).unwrap();
    assert_eq!(tree.sort(), Err((id, TreeError::DuplicateName(b"a".to_vec()))));
}
