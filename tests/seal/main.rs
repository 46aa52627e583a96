//! The seal: notes, keys, policies, signed commits and the check that the initramfs runs. One module a subject; the
//! name of each test is a claim.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod fixture; // keys, notes, commits and policies to test with
mod program; // the program, in a directory with a repository

mod cli; // keygen, sign, note, verify
mod commits; // signed commits
mod evidence; // what is read of a deployment
mod garbage; // random bytes, and every flipped bit
mod interop; // openssl, ostree
mod notes; // the text form, the C2SP vectors, other implementations
mod policies; // policy.conf and the key directories
mod refusals; // who is refused, and who isn't
