//! Described trees, to be committed into a repository of any mode.

/// A name in a tree and what it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// From the root, with a slash in front; the root itself is `/`. Parents come first.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Directory,
    File(Vec<u8>),
    Symlink(String),
}

impl Item {
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = self.mode & 0o170000 | mode;
        self
    }

    pub(crate) fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.into(), value.into()));
        self
    }
}

fn item(path: &str, mode: u32, kind: Kind) -> Item {
    Item { path: path.into(), mode, uid: 0, gid: 0, xattrs: Vec::new(), kind }
}

pub(crate) fn directory(path: &str) -> Item {
    item(path, 0o040755, Kind::Directory)
}

pub(crate) fn file(path: &str, content: impl Into<Vec<u8>>) -> Item {
    item(path, 0o100644, Kind::File(content.into()))
}

pub(crate) fn symlink(path: &str, target: impl Into<String>) -> Item {
    item(path, 0o120777, Kind::Symlink(target.into()))
}

/// The tree whose image libostree's own test suite pins (tests/test-composefs.sh), from its `setup_test_repository`.
pub(crate) fn golden() -> Vec<Item> {
    vec![
        directory("/"),
        symlink("/somelink", "nosuchfile"),
        file("/firstfile", "first\n"),
        directory("/baz"),
        file("/baz/cow", "moo\n"),
        file("/baz/cowro", "mooro\n").mode(0o600),
        file("/baz/saucer", "alien\n"),
        directory("/baz/deeper"),
        file("/baz/deeper/ohyeah", "hi\n"),
        file("/baz/deeper/ohyeahx", "hix\n").mode(0o755),
        symlink("/baz/alink", "nonexistent"),
        directory("/baz/another"),
        file("/baz/another/y", "x\n"),
        directory("/baz/sub1"),
        file("/baz/sub1/duplicate_a", "SAME_CONTENT\n"),
        file("/baz/sub1/duplicate_b", "SAME_CONTENT\n"),
        directory("/baz/sub2"),
        file("/baz/sub2/duplicate_c", "SAME_CONTENT\n"),
    ]
}

/// What every mode can hold: owner 0:0, no xattrs, no set-id bits. Names, sizes and links around every edge.
pub(crate) fn plain() -> Vec<Item> {
    let mut items = vec![directory("/"), directory("/usr"), directory("/etc"), directory("/usr/names")];
    for name in names() {
        items.push(file(&format!("/usr/names/{name}"), name));
    }
    items.push(directory("/usr/sizes"));
    for size in [0, 1, 2, 63, 64, 65, 4095, 4096, 4097, 128 * 4096 - 1, 128 * 4096, 128 * 4096 + 1, 3_000_000]
    {
        items.push(file(&format!("/usr/sizes/{size}"), content(size)));
    }
    items.push(directory("/usr/twice"));
    for name in ["a", "b", "c"] {
        items.push(file(&format!("/usr/twice/{name}"), "the same\n"));
        items.push(file(&format!("/usr/twice/empty-{name}"), ""));
        items.push(symlink(&format!("/usr/twice/link-{name}"), "a"));
    }
    items.push(directory("/usr/links"));
    for len in [1, 2, 255, 1000, 3000] {
        items.push(symlink(&format!("/usr/links/{len}"), "t".repeat(len)));
    }
    items.push(directory("/usr/wh"));
    for name in [".wh.gone", ".wh..wh..opq", ".ostree-wh.gone", ".wh", "00", "ff"] {
        items.push(file(&format!("/usr/wh/{name}"), ""));
    }
    // These stand where the image hides the object directories.
    items.extend([file("/00", "not a whiteout"), directory("/a0"), symlink("/fe", "usr")]);
    items.extend([file("/usr/private", "x").mode(0o600), file("/usr/program", "y").mode(0o775)]);
    items.push(directory("/usr/deep"));
    let mut deep = "/usr/deep".to_owned();
    for _ in 0..60 {
        deep.push_str("/d");
        items.push(directory(&deep));
    }
    items.push(symlink("/var", "usr/var"));
    items
}

/// What bare-user-only can't hold.
pub(crate) fn nasty() -> Vec<Item> {
    let mut items = plain();
    let label = b"system_u:object_r:usr_t:s0\0";
    items[0] = directory("/").xattr("security.selinux", b"system_u:object_r:root_t:s0\0");
    items.extend([
        file("/usr/setuid", "s").mode(0o6755),
        file("/usr/sticky", "s").mode(0o1644),
        file("/usr/no-mode", "n").mode(0),
        directory("/usr/tmp").mode(0o1777),
        file("/usr/far", "f").owner(100_000, 65_536),
        file("/usr/near", "f").owner(65_535, 65_535),
        directory("/usr/home").owner(1000, 100).mode(0o700),
        symlink("/usr/owned-link", "far").owner(7, 100_001),
        file("/usr/labelled", "l").xattr("security.selinux", label),
        file("/usr/labelled-too", "m").xattr("security.selinux", label),
        file("/usr/labelled-empty", "").xattr("security.selinux", label),
        symlink("/usr/labelled-link", "labelled").xattr("security.selinux", label),
        directory("/usr/labelled-directory").xattr("security.selinux", label).xattr("user.a", b"1"),
        file("/usr/many", "many")
            .xattr("user.b", b"2")
            .xattr("user.a", &[0, 255, 61, 92, 10])
            .xattr("trusted.overlay.opaque", b"y")
            .xattr("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        file("/usr/large-xattr", "x").xattr("user.large", &content(2500)),
    ]);
    items
}

/// A directory of 20,000 files with 100 different contents.
pub(crate) fn many() -> Vec<Item> {
    let mut items = vec![directory("/"), directory("/many")];
    for number in 0..20_000 {
        items.push(file(&format!("/many/file-{number}"), format!("{}", number % 100)));
    }
    items
}

/// Names that together have every byte that OSTree allows: UTF-8 without NUL and slash.
fn names() -> Vec<String> {
    let ascii = (1..=127_u8).map(char::from).filter(|c| *c != '/').map(|c| format!("ascii{c}"));
    let last_bytes = (0x80..=0xbf_u32).filter_map(char::from_u32).map(|c| format!("last{c}"));
    let first_bytes = (0xc2..=0xf4_u32).filter_map(|byte| match byte {
        0xc2..=0xdf => char::from_u32((byte & 0x1f) << 6),
        0xe0..=0xef => char::from_u32(((byte & 0xf) << 12).max(0x800)),
        _ => char::from_u32(((byte & 7) << 18).max(0x10000)),
    });
    let first = first_bytes.map(|c| format!("first{c}"));
    let edges = [" ", "...", "..a", "-", "!", "\\", "\n", "=", "a b"].map(str::to_owned);
    let mut names: Vec<String> = ascii.chain(last_bytes).chain(first).chain(edges).collect();
    names.push("n".repeat(255));
    names.push("é".repeat(127));
    names
}

/// Bytes that don't repeat soon.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let mut state = u32::try_from(size).unwrap() | 1;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(size).collect()
}
