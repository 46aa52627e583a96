//! An initramfs file, read once from its beginning to its end, a chunk at a time.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// What is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// A part of a file.
#[derive(Debug)]
pub(super) struct Part<'a> {
    file: &'a File,
    /// What is left of it.
    left: Range<u64>,
}

impl<'a> Part<'a> {
    /// These bytes of `file`, or less where it ends before.
    pub(super) fn new(file: &'a File, bytes: Range<u64>) -> Self {
        Self { file, left: bytes }
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let len = self.file.read_at(&mut buffer[..wanted], self.left.start)?;
        self.left.start += len as u64;
        Ok(len)
    }
}

/// Bytes in their order, with a look ahead and the position of the next one.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: R,
    chunk: Vec<u8>,
    /// What of the chunk was read and not consumed.
    ahead: Range<usize>,
    position: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, chunk: vec![0; CHUNK], ahead: 0..0, position: 0 }
    }

    /// How many bytes were consumed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes: `len` or more, unless the input ends before.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        if self.ahead.len() < len {
            self.chunk.copy_within(self.ahead.clone(), 0);
            self.ahead = 0..self.ahead.len();
        }
        while self.ahead.len() < len {
            let read = self.source.read(&mut self.chunk[self.ahead.end..])?;
            if read == 0 {
                break;
            }
            self.ahead.end += read;
        }
        Ok(&self.chunk[self.ahead.clone()])
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)
    }

    fn consume(&mut self, len: usize) {
        self.ahead.start += len;
        self.position += len as u64;
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buffer)?;
        self.consume(len);
        Ok(len)
    }
}

/// Passes over zeros: how many there were, and whether something else follows.
pub(super) fn skip_zeros(input: &mut impl BufRead) -> io::Result<(u64, bool)> {
    let mut passed = 0;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok((passed, false));
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let more = zeros < buffer.len();
        input.consume(zeros);
        passed += zeros as u64;
        if more {
            return Ok((passed, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, Read as _, Write as _};

    use proptest::prelude::{any, proptest};

    use super::{Input, Part, skip_zeros};

    proptest! {
        #[test]
        fn all_bytes_come_in_order_however_they_are_asked_for(
            bytes in proptest::collection::vec(any::<u8>(), 0..200_000),
            steps in proptest::collection::vec((0..6_usize, 0..70_000_usize), 1..20),
        ) {
            let mut input = Input::new(bytes.as_slice());
            let mut found = Vec::new();
            for (ahead, len) in steps {
                let rest = &bytes[found.len()..];
                assert!(rest.starts_with(input.peek(ahead).unwrap()));
                assert!(input.peek(ahead).unwrap().len() >= ahead.min(rest.len()));
                let mut buffer = vec![0; len];
                let read = input.read(&mut buffer).unwrap();
                found.extend(&buffer[..read]);
                assert_eq!(input.position(), found.len() as u64);
            }
            input.read_to_end(&mut found).unwrap();
            assert_eq!(found, bytes);
        }
    }

    #[test]
    fn a_part_of_a_file_ends_where_it_should() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let read = |bytes| std::io::read_to_string(Part::new(&file, bytes)).unwrap();
        assert_eq!([read(2..5), read(8..20), read(4..4), read(30..40)], ["234", "89", "", ""]);
    }

    #[test]
    fn zeros_are_counted() {
        let mut input = Input::new([[0; 70_000].as_slice(), b"x"].concat().leak() as &[u8]);
        assert_eq!(skip_zeros(&mut input).unwrap(), (70_000, true));
        assert_eq!(input.fill_buf().unwrap(), b"x");
        input.consume(1);
        assert_eq!(skip_zeros(&mut input).unwrap(), (0, false));
    }
}
