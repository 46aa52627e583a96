# make            build both programs
# make check      everything that can be tested on this machine (Debian 12 or 13: installs what it needs)
# make soak       power cuts, kills and fuzz targets for as long as one likes
# make demo       from an OS commit to a booted, sealed system
# make install    DESTDIR= PREFIX=
# make deb        Debian packages, in target/deb

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
SEAL := $(TARGET_DIR)/release/ostree-seal
# By its pattern, since `sudo make install` may find no rustc to ask for the host.
SEAL_ROOT = $(firstword $(wildcard $(TARGET_DIR)/*/initrd/ostree-seal-root) ostree-seal-root)
# Static, and below 1 MiB: one implementation of each algorithm, the small one; relocations packed; no unwind tables.
STATIC := RUSTFLAGS='-C target-feature=+crt-static --cfg curve25519_dalek_backend="serial" \
	--cfg sha2_backend="soft" --cfg sha2_backend_soft="compact" -C link-arg=-Wl,-z,pack-relative-relocs \
	-C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,$(CURDIR)/src/boot/initrd.ld'
TOOLS := tests/tools

.PHONY: all build build-host build-root build-vm deps test check vm-test oracle soak oldest-rust demo bench deb package install clean

all: build

build: build-host build-root

build-host:
	$(CARGO) build --release --locked --package ostree-seal

# A package of its own, because features unify over a workspace build; --target, so that its flags stay its own.
build-root:
	$(STATIC) $(CARGO) build --locked --package ostree-seal-root --profile initrd --target $(HOST)

# What the guests of tests/vm run beside them.
build-vm: build
	$(STATIC) $(CARGO) build --locked --package ostree-seal-vm --profile initrd --target $(HOST)

# Everything that any other target needs.
deps:
	$(TOOLS)/deps.sh vm demo

# The everyday part: no network, no virtual machine.
test:
	$(TOOLS)/check.sh everyday

check:
	$(TOOLS)/deps.sh vm
	$(TOOLS)/check.sh everyday vm

vm-test:
	$(TOOLS)/deps.sh vm
	$(TOOLS)/check.sh vm

# Power cuts, kills and fuzz targets: SOAK_ROUNDS= or SOAK_HOURS=, SOAK_SEED= repeats a failure.
soak:
	$(TOOLS)/deps.sh vm
	$(MAKE) build-vm
	$(TOOLS)/soak.sh

# All targets, built and linted with the oldest Rust that is promised, in a root of Debian 13.
oldest-rust:
	$(TOOLS)/deps.sh vm
	$(TOOLS)/oldest-rust.sh

# Debian sid's ostree and composefs and the composefs project's vectors, for the comparison byte for byte; made once.
oracle:
	$(TOOLS)/deps.sh oracle
	$(TOOLS)/oracle.sh
	$(TOOLS)/vectors.sh

# What it can't do without is asked for before anything is installed or compiled.
demo:
	tests/demo.sh ready
	$(TOOLS)/deps.sh demo
	$(MAKE) build
	tests/demo.sh

bench:
	$(TOOLS)/deps.sh demo
	$(CARGO) bench --locked --bench peers

# Debian packages, into target/deb.
deb:
	$(TOOLS)/deps.sh deb
	debian/rules clean
	rm -rf $(TARGET_DIR)/deb && mkdir -p $(TARGET_DIR)/deb
	DEB_DESTDIR=$(abspath $(TARGET_DIR))/deb debian/rules binary
	debian/rules clean

# The three packages as they would be published, each built from its archive alone. Needs cargo 1.90.
package:
	$(CARGO) package --locked --package ostree-seal-trust --package ostree-seal-root --package ostree-seal

# Installs what `make` has built.
install:
	$(TOOLS)/install.sh "$(SEAL)" "$(SEAL_ROOT)" "$(DESTDIR)" "$(PREFIX)"

clean:
	$(CARGO) clean
