//! Patterns of names, as in `find -name` and the shell: `*`, `?`, `[a-z]`, `[!a]`, and a backslash before a character that
//! means itself. A slash is a character like any other. Bytes are compared.

/// Whether a text is one that the pattern describes. In time linear in the text for each star.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where the last star was, and how much of the text it takes so far.
    let mut star: Option<(usize, usize)> = None;
    while pos < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, pos));
            at += 1;
        } else if let Some(len) = one(&pattern[at..], text[pos]) {
            (at, pos) = (at + len, pos + 1);
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, pos) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
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
    use super::matches;

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
    fn many_stars_end_soon() {
        assert!(!matches(&b"*a".repeat(50), &b"a".repeat(40)));
        assert!(!matches(&[&b"*a".repeat(30)[..], b"b"].concat(), &b"a".repeat(10_000)));
    }
}
