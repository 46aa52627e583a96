//! `ostree-seal-root`, the program in the initramfs: verifies the image of the deployment to boot and mounts it as the
//! root file system. It takes no arguments, so that there is none to get wrong.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("ostree-seal-root: takes no arguments; what it does is in the initramfs's policy");
        return ExitCode::from(2);
    }
    ostree_seal_root::run::run(Path::new("/"))
}
