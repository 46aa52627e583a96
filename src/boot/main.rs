//! `ostree-seal-root`, the program in the initramfs. Not written yet: it refuses to do anything.

fn main() -> std::process::ExitCode {
    eprintln!("ostree-seal-root: mounting the root is not implemented in this version");
    std::process::ExitCode::from(1)
}
