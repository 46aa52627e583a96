use proptest::prelude::{ProptestConfig, any, prop_assert_eq};
use proptest::proptest;

use super::escape::{Mistaken, escape, unescape};
use super::{DumpError, parse, print};
use crate::tree::{Content, Tree};

const ROOT: &str = "/ 4096 40755 2 0 0 0 0.0 - - -\n";

fn parse_after_root(lines: &str) -> Result<Tree, DumpError> {
    parse(format!("{ROOT}{lines}").as_bytes())
}

fn printed(tree: &Tree) -> String {
    let mut text = Vec::new();
    print(tree, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn names_line_and_field_of_what_it_refuses() {
    let digest = "a".repeat(64);
    let long = "x".repeat(5001);
    let target = "t".repeat(4096);
    let name = "n".repeat(256);
    for (lines, expected) in [
        ("\n", "line 2, field PATH: the path does not end with a name"),
        ("/a/ 0 100644 1 0 0 0 0.0 - - -\n", "line 2, field PATH: the path does not end with a name"),
        ("// 0 40755 1 0 0 0 0.0 - - -\n", "line 2, field PATH: the path does not end with a name"),
        ("/ 0 40755 1 0 0 0 0.0 - - -\n", "line 2, field PATH: the root is there twice"),
        ("/.. 0 40755 1 0 0 0 0.0 - - -\n", r#"line 2, field PATH: the name ".." is not possible"#),
        (
            "/a/b 0 100644 1 0 0 0 0.0 - - -\n",
            r#"line 2, field PATH: no line before this one makes "/a" a directory"#,
        ),
        (
            r"/\q 0 100644 1 0 0 0 0.0 - - -",
            r"line 2, field PATH: there is a \ that begins none of \\ \n \r \t \xHH",
        ),
        (
            r"/\x0g 0 100644 1 0 0 0 0.0 - - -",
            r"line 2, field PATH: there is a \ that begins none of \\ \n \r \t \xHH",
        ),
        (r"/a\x00b 0 100644 1 0 0 0 0.0 - - -", "line 2, field PATH: there is a NUL byte"),
        (
            &format!("/{name} 0 100644 1 0 0 0 0.0 - - -"),
            "line 2, field PATH: the name has 256 bytes, at most 255 are possible",
        ),
        ("/a +1 100644 1 0 0 0 0.0 - - -", r#"line 2, field SIZE: expected a number of bytes, found "+1""#),
        (
            "/a 18446744073709551616 100644 1 0 0 0 0.0 - - -",
            r#"line 2, field SIZE: expected a number of bytes, found "18446744073709551616""#,
        ),
        (
            "/a 0 800 1 0 0 0 0.0 - - -",
            r#"line 2, field MODE: expected an octal mode of at most 32 bits, found "800""#,
        ),
        ("/a 0 644 1 0 0 0 0.0 - - -", "line 2, field MODE: the mode 644 has none of the seven file types"),
        (
            "/a 0 100644 x 0 0 0 0.0 - - -",
            r#"line 2, field NLINK: expected a number from 0 to 4294967295, found "x""#,
        ),
        (
            "/a 0 100644 1 4294967296 0 0 0.0 - - -",
            r#"line 2, field UID: expected a number from 0 to 4294967295, found "4294967296""#,
        ),
        (
            "/a 0 100644 1 0 -1 0 0.0 - - -",
            r#"line 2, field GID: expected a number from 0 to 4294967295, found "-1""#,
        ),
        (
            "/a 0 100644 1 0 0 ? 0.0 - - -",
            r#"line 2, field RDEV: expected a number from 0 to 4294967295, found "?""#,
        ),
        (
            "/a 0 100644 1 0 0 0 7 - - -",
            r#"line 2, field MTIME: expected seconds, a dot and nanoseconds, found "7""#,
        ),
        ("/a 0 120777 1 0 0 0 0.0 - - -", "line 2, field PAYLOAD: the symlink has no target"),
        (
            &format!("/a 0 120777 1 0 0 0 0.0 {target} - -"),
            "line 2, field PAYLOAD: the target or payload has 4096 bytes, at most 4095 are possible",
        ),
        (
            "/a 2 100644 1 0 0 0 0.0 - abc -",
            "line 2, field CONTENT: the content has 3 bytes, but field SIZE says 2",
        ),
        (
            &format!("/a 5001 100644 1 0 0 0 0.0 - {long} -"),
            "line 2, field CONTENT: the inline content has 5001 bytes, at most 5000 are possible",
        ),
        (
            "/a 2 100644 1 0 0 0 0.0 - -",
            "line 2, field DIGEST: expected - or the 64 hex digits of an fs-verity digest",
        ),
        (
            &format!("/a 2 100644 1 0 0 0 0.0 - - {digest}0"),
            "line 2, field DIGEST: expected - or the 64 hex digits of an fs-verity digest",
        ),
        (
            "/a 9007199254740993 100644 1 0 0 0 0.0 a - -",
            "line 2, field SIZE: the file has 9007199254740993 bytes, at most 2^53 = 9007199254740992 are possible",
        ),
        ("/a 0 100644 1 0 0 0 0.0 - - - key", "line 2, field KEY=VALUE: there is no = between key and value"),
        (
            "/a 0 100644 1 0 0 0 0.0 - - -  a=b",
            "line 2, field KEY=VALUE: there is no = between key and value",
        ),
        (
            "/a 0 100644 1 0 0 0 0.0 - - - =b",
            "line 2, field KEY=VALUE: an xattr name has 0 bytes, 1 to 255 are possible",
        ),
        ("/a 0 @40755 1 0 0 0 0.0 / - -", "line 2, field MODE: a directory can't be hard linked"),
        ("/a 0 @100644 1 0 0 0 0.0 - - -", "line 2, field PAYLOAD: the hard link has no target"),
        (
            "/a 0 @100644 1 0 0 0 0.0 /b - -",
            r#"line 2, field PAYLOAD: the hard link's target "/b" is not there"#,
        ),
        ("/a 0 @100644 1 0 0 0 0.0 /a - -", "line 2, field PAYLOAD: the hard link leads back to itself"),
        ("/a\0 0 100644 1 0 0 0 0.0 - - -", "line 2: there is a NUL byte"),
    ] {
        assert_eq!(parse_after_root(lines).unwrap_err().to_string(), expected, "{lines:?}");
    }
}

#[test]
fn needs_a_root_directory_first() {
    for (text, expected) in [
        ("", "the dump has no lines, it needs at least one for /"),
        ("/a 0 40755 1 0 0 0 0.0 - - -", "line 1, field PATH: the first line must be for /"),
        ("./ 0 40755 1 0 0 0 0.0 - - -", "line 1, field PATH: the first line must be for /"),
        ("/ 0 100644 1 0 0 0 0.0 - - -", "line 1, field MODE: the root must be a directory"),
        ("/ 0 @100644 1 0 0 0 0.0 /a - -", "line 1, field MODE: the root must be a directory"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), expected);
    }
}

#[test]
fn refuses_a_hard_link_to_a_directory_however_it_is_spelled() {
    let lines = "/d 0 40755 1 0 0 0 0.0 - - -\n";
    for (link, line) in [
        ("/l 0 @100644 1 0 0 0 0.0 /d - -\n", 3),
        ("/l 0 @100644 1 0 0 0 0.0 //d/ - -\n", 3),
        ("/l 0 @100644 1 0 0 0 0.0 / - -\n", 3),
        ("/l 0 @100644 1 0 0 0 0.0 /m - -\n/m 0 @100644 1 0 0 0 0.0 /d - -\n", 4),
    ] {
        let error = parse_after_root(&format!("{lines}{link}")).unwrap_err();
        let expected = format!("line {line}, field PAYLOAD: a directory can't be hard linked");
        assert_eq!(error.to_string(), expected, "{link:?}");
    }
}

#[test]
fn refuses_link_cycles_that_do_not_lead_back_to_the_start() {
    let link = |from: &str, to: &str| format!("/{from} 0 @100644 1 0 0 0 0.0 /{to} - -\n");
    let error = parse_after_root(&[link("0", "a"), link("a", "b"), link("b", "a")].concat()).unwrap_err();
    assert_eq!(error.to_string(), "line 3, field PAYLOAD: the hard link leads back to itself");
}

#[test]
fn names_the_later_line_of_a_duplicate() {
    let file = "/x 0 100644 1 0 0 0 0.0 - - -\n";
    let link = "/x 0 @100644 1 0 0 0 0.0 /y - -\n";
    let other = "/y 0 100644 1 0 0 0 0.0 - - -\n";
    for (lines, line) in [
        ([other, file, file].concat(), 4),
        ([other, file, link].concat(), 4),
        ([link, other, file].concat(), 4),
        ([link, link, other].concat(), 3),
        ([link, other, "/z 0 @100644 1 0 0 0 0.0 /y - -\n", file].concat(), 5),
    ] {
        let error = parse_after_root(&lines).unwrap_err().to_string();
        assert_eq!(error, format!(r#"line {line}, field PATH: the name "x" is there twice"#), "{lines}");
    }
}

#[test]
fn takes_what_mkcomposefs_takes() {
    for lines in [
        "a 0 100644 1 0 0 0 0.0 - - -\n",
        "//a 0 100644 1 0 0 0 -7.9 - - - ",
        "/a 7 120777 1 0 0 0 0.0 target",
        "/a 0 7100644 1 0 0 0 0.0 - - -\n",
        "/a 0 100644 1 0 0 0 0.0 - - - user.a=b=c",
        "/a 0 100644 1 0 0 0 0.0 - - - user.a=b user.a=c",
        "/b junk @100644 junk junk junk junk junk a junk junk junk\n/a 0 100644 1 0 0 0 0.0 - - -\n",
    ] {
        assert!(parse_after_root(lines).is_ok(), "{lines:?}: {}", parse_after_root(lines).unwrap_err());
    }
}

#[test]
fn follows_chains_of_links_to_the_file() {
    let link = |from: &str, to: &str| format!("/{from} 0 @100644 1 0 0 0 0.0 {to} - -\n");
    let file = "/f 0 100644 3 0 0 0 0.0 - - -\n";
    let tree = parse_after_root(&[&link("a", "/b"), &link("b", "f"), file].concat()).unwrap();
    let Content::Directory(root) = tree[Tree::ROOT].content else { unreachable!() };
    let node = |name: &[u8]| tree.lookup(root, name).unwrap().node;
    assert_eq!((node(b"a"), node(b"b")), (node(b"f"), node(b"f")));
}

#[test]
fn prints_what_it_reads() {
    let lines = "\
/dash 1 100644 1 0 0 0 0.0 - \\x2d -
/directory 27 40755 2 1 2 0 -7.9 - - - user.\\x3d=\\x3d\\xff\\n
/directory/f 5 100600 1 0 0 0 0.0 aa/bb - abababababababababababababababababababababababababababababababab
/file 0 100644 2 0 0 0 0.0 - - -
/link 0 @100644 2 0 0 0 0.0 /file - -
/null 0 20666 1 0 0 259 0.0 - - -
/s\\x20\\\\\\t 3 120777 1 0 0 0 0.0 \\x2d\\xe2\\x82 - -
";
    assert_eq!(
        printed(&parse_after_root(lines).unwrap()),
        format!("{ROOT}{lines}").replace("\\x2d\\xe2", "-\\xe2")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn escape_and_unescape_are_inverse(bytes in any::<Vec<u8>>()) {
        for field in [Mistaken::Path, Mistaken::Optional, Mistaken::Xattr] {
            let mut escaped = Vec::new();
            escape(&bytes, field, &mut escaped).unwrap();
            let mut buffer = Vec::new();
            prop_assert_eq!(unescape(&escaped, &mut buffer).unwrap(), bytes.as_slice());
        }
    }

    #[test]
    fn garbage_never_panics(bytes in any::<Vec<u8>>()) {
        drop(parse(bytes.as_slice()));
        drop(parse([ROOT.as_bytes(), &bytes].concat().as_slice()));
    }

    #[test]
    fn garbage_in_one_field_never_panics(field in 0..12_usize, garbage in "[ -~\\n\\\\0-9@=]{0,12}") {
        let mut fields = "/a 5 100644 1 0 0 0 0.0 aa/bb - - user.a=b".split(' ').collect::<Vec<_>>();
        fields[field] = &garbage;
        drop(parse_after_root(&fields.join(" ")));
    }
}
