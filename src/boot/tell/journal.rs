//! What the program says: to the journal with fields, else to the kernel's log. Nothing that fails here is an error of
//! the boot, because there is nobody left to tell.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// A kind of message, by which it can be found: `journalctl MESSAGE_ID=…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// The root was refused.
    Refused,
    /// The root could not be set up.
    Failed,
    /// The root is sealed.
    Sealed,
    /// The root is mounted without a check, as the policy says.
    Unsealed,
    /// Something was passed over: an argument, a key, a signature.
    Ignored,
    /// The deployment was found. The id is the one that ostree-prepare-root uses, which programs look for.
    Resolved,
}

impl MessageKind {
    fn id(self) -> &'static str {
        match self {
            Self::Refused => "f2fd5cfa03614315851c914a7b6e20be",
            Self::Failed => "2961d08bae3f4e079aa4a6f598b3ec57",
            Self::Sealed => "cbfbe85074ec466e9b4925ae46c76971",
            Self::Unsealed => "0d57efea66fb490f8cf99bfdd36c4edf",
            Self::Ignored => "7964744d9f4b4408bf54444bfa7c6a07",
            Self::Resolved => "7170336a73ba4601bad31af888aa0df7",
        }
    }

    /// The level as in syslog(3).
    fn priority(self) -> u8 {
        match self {
            Self::Refused | Self::Failed => 2,
            Self::Unsealed | Self::Ignored => 4,
            Self::Sealed | Self::Resolved => 6,
        }
    }
}

/// Where messages go.
#[derive(Debug)]
pub struct Journal {
    socket: PathBuf,
    kmsg: PathBuf,
}

impl Journal {
    /// The journal and the kernel's log below a root directory.
    pub fn new(root: &Path) -> Self {
        Self { socket: root.join("run/systemd/journal/socket"), kmsg: root.join("dev/kmsg") }
    }

    /// Says one sentence, with fields that carry its values.
    pub fn say(&self, kind: MessageKind, message: &str, fields: &[(&str, &str)]) {
        let sent = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to(&datagram(kind, message, fields), &self.socket));
        // The kernel's log is for what somebody must see; each line of it may have to wait for a serial console.
        if sent.is_err() && kind.priority() <= 4 {
            let line = format!("<{}>ostree-seal-root: {}\n", kind.priority(), one_line(message));
            // Not even the kernel listens; the caller has printed what matters.
            let _ = OpenOptions::new()
                .write(true)
                .open(&self.kmsg)
                .and_then(|mut log| log.write_all(line.as_bytes()));
        }
    }
}

/// A message in the journal's native protocol.
fn datagram(kind: MessageKind, message: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let priority = kind.priority().to_string();
    let common = [
        ("MESSAGE_ID", kind.id()),
        ("PRIORITY", &priority),
        ("SYSLOG_IDENTIFIER", "ostree-seal-root"),
        ("MESSAGE", message),
    ];
    let mut bytes = Vec::new();
    for (name, value) in common.iter().chain(fields) {
        bytes.extend(name.bytes());
        if value.contains('\n') {
            bytes.push(b'\n');
            bytes.extend(u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
        } else {
            bytes.push(b'=');
        }
        bytes.extend(value.bytes());
        bytes.push(b'\n');
    }
    bytes
}

/// The text without characters that would end a line, steer a terminal, or show the rest of the line in another order or
/// not at all: parts of it come from the disk.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { '?' } else { c }).collect()
}

/// Marks of direction, joiners and other characters of no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{MessageKind, datagram, one_line};

    #[test]
    fn a_value_of_one_line_is_sent_as_text() {
        let bytes = datagram(MessageKind::Refused, "no", &[("OSTREE_SEAL_PATH", "/a")]);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("MESSAGE_ID=f2fd5cfa03614315851c914a7b6e20be\nPRIORITY=2\n"), "{text}");
        assert!(text.ends_with("\nMESSAGE=no\nOSTREE_SEAL_PATH=/a\n"), "{text}");
    }

    #[test]
    fn a_value_of_two_lines_can_not_pose_as_a_field() {
        let bytes = datagram(MessageKind::Refused, "a\nPRIORITY=7", &[]);
        let framed = b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=7\n";
        assert!(bytes.windows(framed.len()).any(|window| window == framed));
    }

    #[test]
    fn a_line_has_no_control_characters() {
        assert_eq!(one_line("a\nb\x1b[31mc\u{9b}"), "a?b?[31mc?");
    }

    #[test]
    fn a_line_reads_in_the_order_that_it_is_written_in() {
        assert_eq!(one_line("root\u{202e}delaes si\u{2069}\u{200b}ä\u{feff}"), "root?delaes si??ä?");
    }
}
