use super::{INITRAMFS, Origin, SEALED, Trust, add_initramfs, key, tree, trust};

#[test]
fn what_is_no_initramfs_at_all_is_not_judged_by_the_tree() {
    let root = tree(&[
        ("usr/lib/ostree-seal/policy.conf", SEALED),
        ("usr/lib/ostree-seal/trusted.d/a.vkey", &key(0)),
    ]);
    add_initramfs(root.path(), &[]);
    let path = root.path().join(INITRAMFS);
    // It may be packed in a way that only the kernel knows.
    std::fs::write(&path, "no cpio").unwrap();
    assert!(matches!(trust(root.path()).unwrap(), Trust::Sealed { origin: Origin::Tree(..), .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = format!("{:#}", trust(root.path()).unwrap_err());
    assert!(error.contains("initramfs.img") && error.contains("not a regular file"), "{error}");
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = format!("{:#}", trust(root.path()).unwrap_err());
    assert!(error.contains("initramfs.img") && error.contains("more than the 1073741824 bytes"), "{error}");
}
