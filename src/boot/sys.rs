//! The only unsafe code: kernel calls that no safe wrapper covers. Each errno that has a meaning becomes a name in
//! the module that calls.

#![allow(unsafe_code, reason = "ioctls that rustix doesn't wrap; each block has its SAFETY text")]

use std::ffi::c_void;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{self, Opcode};

/// `FS_VERITY_HASH_ALG_SHA256`.
pub(crate) const FS_VERITY_HASH_ALG_SHA256: u16 = 1;

const FS_IOC_ENABLE_VERITY: Opcode = ioctl::opcode::write::<EnableArg>(b'f', 133);
const FS_IOC_MEASURE_VERITY: Opcode = ioctl::opcode::read_write::<[u16; 2]>(b'f', 134);

/// `struct fsverity_enable_arg`, linux/fsverity.h.
#[repr(C)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,

    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}
const _: () = assert!(size_of::<EnableArg>() == 128);

/// `struct fsverity_digest`, linux/fsverity.h, with room for a SHA-512 digest.
#[repr(C)]
pub(crate) struct MeasureArg {
    pub(crate) algorithm: u16,
    pub(crate) size: u16,
    pub(crate) digest: [u8; 64],
}

/// `FS_IOC_MEASURE_VERITY`: the digest that the kernel holds for an open file.
pub(crate) fn measure_verity(file: impl AsFd) -> Result<MeasureArg, Errno> {
    struct Measure<'a>(&'a mut MeasureArg);

    // SAFETY: the opcode is that of FS_IOC_MEASURE_VERITY, whose argument is a `struct fsverity_digest` followed by
    // at least `digest_size` bytes; the kernel writes no more than that, and `digest` has all of them.
    unsafe impl ioctl::Ioctl for Measure<'_> {
        type Output = ();
        const IS_MUTATING: bool = true;

        fn opcode(&self) -> Opcode {
            FS_IOC_MEASURE_VERITY
        }

        fn as_ptr(&mut self) -> *mut c_void {
            std::ptr::from_mut(self.0).cast()
        }

        unsafe fn output_from_ptr(_: ioctl::IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
            Ok(())
        }
    }

    let mut arg = MeasureArg { algorithm: 0, size: 64, digest: [0; 64] };
    // SAFETY: see the `Ioctl` above; `arg` lives until the call returns.
    unsafe { ioctl::ioctl(file, Measure(&mut arg)) }?;
    Ok(arg)
}

/// `FS_IOC_ENABLE_VERITY` with SHA-256, blocks of 4096 bytes, no salt and no signature.
pub(crate) fn enable_verity(file: impl AsFd) -> Result<(), Errno> {
    let arg = EnableArg {
        version: 1,
        hash_algorithm: u32::from(FS_VERITY_HASH_ALG_SHA256),
        block_size: 4096,
        salt_size: 0,
        salt_ptr: 0,
        sig_size: 0,
        reserved1: 0,
        sig_ptr: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the opcode is that of FS_IOC_ENABLE_VERITY, whose argument is a `struct fsverity_enable_arg`. The kernel
    // only reads it, and both pointers in it are null with a size of 0.
    unsafe { ioctl::ioctl(file, ioctl::Setter::<{ FS_IOC_ENABLE_VERITY }, EnableArg>::new(arg)) }
}
