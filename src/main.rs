//! `ostree-seal`, the program.

use clap::Parser;
use ostree_seal::cli::{self, Cli};

fn main() -> std::process::ExitCode {
    cli::run(Cli::parse())
}
