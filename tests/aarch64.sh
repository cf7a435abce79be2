#!/usr/bin/env bash
# aarch64.sh BUILD PACKAGE... - cross-compile for aarch64 and run what tests its kernels
# under qemu.  Needs Debian's cross compiler and qemu-user; the libraries are unpacked in
# BUILD/sysroot by an apt that looks at that folder only, so the system stays as it is.
set -eu
build=${1:?build folder} && shift
target=aarch64-linux-gnu

for tool in $target-gcc qemu-aarch64; do
    command -v $tool >/dev/null && continue
    echo "check-aarch64: skipped: no $tool (Debian: gcc-$target, libc6-dev-arm64-cross, qemu-user)"
    exit 0
done

mkdir -p "$build"
build=$(cd "$build" && pwd)
root=$build/sysroot apt=$build/apt
if [ ! -e "$root/complete" ]; then
    echo "fetching arm64 packages: $*"
    rm -rf "$root" "$apt"
    mkdir -p "$root" "$apt/state/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    as_arm64=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64
              -o Dir::State="$apt/state" -o Dir::State::status="$apt/status"
              -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= -o Debug::NoLocking=1)
    "${as_arm64[@]}" update >/dev/null
    "${as_arm64[@]}" install -y --download-only --no-install-recommends "$@" >/dev/null
    for deb in "$apt"/cache/archives/*.deb; do dpkg -x "$deb" "$root"; done
    rm -rf "$apt"
    touch "$root/complete"
fi

make --no-print-directory -j"${JOBS:-2}" CC="$target-gcc --sysroot=$root" BUILD="$build" all units

# qemu is slow; a Cortex-A53 has no SDOT.
export EMULATOR=qemu-aarch64 QEMU_LD_PREFIX=$root CK_TIMEOUT_MULTIPLIER=20
QEMU_CPU=max tests/run.sh "$build" checkkernels test_decode test_encode test_ops test_golden
QEMU_CPU=cortex-a53 tests/run.sh "$build" checkkernels test_ops
