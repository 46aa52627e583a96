//! `ostree-seal`, the program.

use ostree_seal::cli::{self, Cli};

fn main() -> std::process::ExitCode {
    cli::run(Cli::from_program_arguments())
}
