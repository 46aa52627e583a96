//! The only unsafe code: kernel calls that no safe wrapper covers. Each errno that has a meaning becomes a name in
//! the module that calls.

#![allow(unsafe_code, reason = "ioctls that rustix doesn't wrap; each block has its SAFETY text")]

pub mod arena;

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Opcode};
use rustix::thread::{UnshareFlags, unshare_unsafe};

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

const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config`, linux/loop.h, with its `struct loop_info64`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,

    lo_device: u64,
    lo_inode: u64,
    lo_rdevice: u64,
    lo_offset: u64,
    lo_sizelimit: u64,
    lo_number: u32,
    lo_encrypt_type: u32,
    lo_encrypt_key_size: u32,
    lo_flags: u32,
    lo_file_name: [[u8; 32]; 2],
    lo_crypt_name: [[u8; 32]; 2],
    lo_encrypt_key: [u8; 32],
    lo_init: [u64; 2],

    reserved: [u64; 8],
}
const _: () = assert!(size_of::<LoopConfig>() == 304);

/// `LOOP_CTL_GET_FREE`: the number of a loop device that was free when the kernel looked.
pub(crate) fn loop_get_free(control: impl AsFd) -> Result<u32, Errno> {
    struct GetFree;

    // SAFETY: the opcode is that of LOOP_CTL_GET_FREE, which takes no argument and returns the number.
    unsafe impl ioctl::Ioctl for GetFree {
        type Output = u32;
        const IS_MUTATING: bool = false;

        fn opcode(&self) -> Opcode {
            LOOP_CTL_GET_FREE
        }

        fn as_ptr(&mut self) -> *mut c_void {
            std::ptr::null_mut()
        }

        unsafe fn output_from_ptr(number: ioctl::IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
            u32::try_from(number).map_err(|_| Errno::NODEV)
        }
    }

    // SAFETY: see the `Ioctl` above; there is no argument.
    unsafe { ioctl::ioctl(control, GetFree) }
}

/// `LOOP_CONFIGURE`: binds an open file to a loop device, read-only, with blocks of 4096 bytes and without a second
/// copy in the page cache, until the last user of the device is gone.
pub(crate) fn loop_configure(device: impl AsFd, file: impl AsFd) -> Result<(), Errno> {
    let config = LoopConfig {
        fd: u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?,
        block_size: 4096,
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
        lo_file_name: [[0; 32]; 2],
        lo_crypt_name: [[0; 32]; 2],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the opcode is that of LOOP_CONFIGURE, whose argument is a `struct loop_config`. The kernel only reads it,
    // and the descriptor in it is open until the call returns.
    unsafe { ioctl::ioctl(device, ioctl::Setter::<{ LOOP_CONFIGURE }, LoopConfig>::new(config)) }
}

/// `unshare(CLONE_NEWNS)`: this thread gets a copy of its mount namespace, and a working directory of its own.
pub(crate) fn unshare_mount_namespace() -> Result<(), Errno> {
    // SAFETY: what makes `unshare` unsafe is the separation of descriptor tables, which is not asked for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}
