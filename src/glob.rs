//! Patterns of names and paths, as in `find` and the shell: `*`, `?`, `[a-z]`, `[!a]`, and a backslash before a character
//! that means itself. Bytes are compared.

use std::fmt;

/// Whether a text is one that the pattern describes, as in `find -name` and `-path`: a slash is a character like any other.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    follow(pattern, text, |rest| rest.first() == Some(&b'*'), |rest, byte| one(rest, *byte))
}

/// A pattern of whole paths: `*`, `?` and sets describe characters within a name, `**` any number of directories.
#[derive(Debug, Clone)]
pub struct PathPattern(String);

/// A pattern in which a set begins and never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPattern;

impl PathPattern {
    /// A pattern, unless a set in it never ends.
    pub fn new(pattern: &str) -> Result<Self, NoPattern> {
        if pattern.split('/').all(|name| is_whole(name.as_bytes())) {
            Ok(Self(pattern.to_owned()))
        } else {
            Err(NoPattern)
        }
    }

    /// Whether a path is one that the pattern describes.
    pub fn matches(&self, path: &[u8]) -> bool {
        let pattern: Vec<&[u8]> = self.0.as_bytes().split(|byte| *byte == b'/').collect();
        let path: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let is_star = |rest: &[&[u8]]| rest.first() == Some(&&b"**"[..]);
        follow(&pattern, &path, is_star, |rest, name| matches(rest.first()?, name).then_some(1))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NoPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a `[` in it has no `]`")
    }
}

impl std::error::Error for NoPattern {}

/// Whether no set begins that never ends.
fn is_whole(mut pattern: &[u8]) -> bool {
    while let Some((first, rest)) = pattern.split_first() {
        pattern = match first {
            b'[' => match bracket(rest, 0) {
                Some((len, _)) => &rest[len..],
                None => return false,
            },
            b'\\' => rest.get(1..).unwrap_or_default(),
            _ => rest,
        };
    }
    true
}

/// Follows a pattern along a text: pieces that are stars stand for any number of the text's, `one` says how many of the
/// pattern's describe one of the text's. In time linear in the text for each star.
fn follow<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&[P]) -> bool,
    one: impl Fn(&[P], &T) -> Option<usize>,
) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where the last star was, and how much of the text it takes so far.
    let mut star: Option<(usize, usize)> = None;
    while pos < text.len() {
        if is_star(&pattern[at..]) {
            star = Some((at + 1, pos));
            at += 1;
        } else if let Some(len) = one(&pattern[at..], &text[pos]) {
            (at, pos) = (at + len, pos + 1);
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, pos) = (after, taken + 1);
        } else {
            return false;
        }
    }
    (at..pattern.len()).all(|at| is_star(&pattern[at..]))
}

/// How much of the pattern describes this one byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => match bracket(set, byte) {
            Some((len, is_in)) => is_in.then_some(1 + len),
            None => (byte == b'[').then_some(1),
        },
        [b'\\', plain, ..] => (*plain == byte).then_some(2),
        [plain, ..] => (*plain == byte).then_some(1),
        [] => None,
    }
}

/// Length of a set up to its `]`, and whether the byte is in it; `None` if it never ends.
fn bracket(set: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(set.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let (mut at, mut is_in) = (start, false);
    loop {
        match set[at..] {
            [b']', ..] if at > start => return Some((at + 1, is_in != negated)),
            [low, b'-', high, ..] if high != b']' => {
                is_in |= (low..=high).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                is_in |= plain == byte;
                at += 1;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PathPattern, matches};

    #[test]
    fn patterns_mean_what_they_mean_in_find() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", ".a", "a/b"], &[]),
            ("*.so", &[".so", "a.so", "a.so.so"], &["a.so.1", "so"]),
            ("a?c", &["abc", "a/c"], &["ac", "abbc"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "-x"]),
            ("[!a-c]x", &["dx"], &["ax"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[a", &["[a"], &["a"]),
            ("\\*", &["*"], &["a"]),
            ("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "a"]),
            ("a\\", &["a\\"], &["a"]),
        ] {
            for text in yes {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn a_path_is_described_name_by_name() {
        for (pattern, yes, no) in [
            ("/a/*", &["/a/b", "/a/.b"][..], &["/a", "/a/b/c", "/b/a"][..]),
            ("/a/**/c", &["/a/c", "/a/b/c", "/a/b/b/c"], &["/a/b", "/c"]),
            ("/a/**", &["/a/b", "/a/b/c"], &["/b"]),
            ("**/*.so", &["/a.so", "/b/c/a.so"], &["/a.so/b"]),
            ("/a?b", &["/acb"], &["/a/b"]),
            ("/a[!x]b", &["/acb"], &["/a/b", "/axb"]),
        ] {
            let pattern = PathPattern::new(pattern).unwrap();
            for path in yes {
                assert!(pattern.matches(path.as_bytes()), "{pattern} {path}");
            }
            for path in no {
                assert!(!pattern.matches(path.as_bytes()), "{pattern} {path}");
            }
        }
        assert!(["/[", "/a/[b/c]", "[a]["].iter().all(|pattern| PathPattern::new(pattern).is_err()));
        assert!(["[]]", "\\[", "a\\"].iter().all(|pattern| PathPattern::new(pattern).is_ok()));
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!matches(&b"*a".repeat(50), &b"a".repeat(40)));
        assert!(!matches(&[&b"*a".repeat(30)[..], b"b"].concat(), &b"a".repeat(10_000)));
    }
}
