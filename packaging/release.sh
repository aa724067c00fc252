#!/usr/bin/env bash
# Builds what a release consists of into target/dist: a Debian package, an RPM, a tarball with a static program, a bill of
# materials (CycloneDX) and checksums. `just release` runs it.
#
# It needs the target x86_64-unknown-linux-musl (rustup target add), musl-gcc (the package musl-tools), cargo-deb,
# cargo-generate-rpm and cargo-cyclonedx (cargo install --locked).
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
target=x86_64-unknown-linux-musl
dist=target/dist
# The same commit gives the same files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

for tool in cargo-deb cargo-generate-rpm cargo-cyclonedx; do
  command -v "$tool" >/dev/null || { echo "release.sh: $tool not found; run: cargo install --locked $tool" >&2; exit 1; }
done
command -v musl-gcc >/dev/null || { echo "release.sh: musl-gcc not found; install musl-tools" >&2; exit 1; }

# Packages use the system's C library, and with it its name service: groups of a directory service may control the
# daemon. The static program runs anywhere, and reads /etc/passwd and /etc/group only.
cargo build --release --locked --bin forgewatch
# It is optimized for size. Packed relocations make it 0.3 MB smaller; the musl of Rust 1.93 and later applies them.
CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_DEBUG=0 \
  cargo rustc --release --locked --bin forgewatch --target "$target" -- -C link-arg=-Wl,-z,pack-relative-relocs

rm -rf "$dist"
mkdir -p "$dist"
packaging/stage.sh "$dist/stage"
cargo deb --no-build --no-strip --locked --output "$dist/"
cargo generate-rpm --output "$dist/"

# `systemd/install.sh install` in the unpacked folder installs the program in it.
name=forgewatch-$version-$target
install -D -s -m 755 "target/$target/release/forgewatch" "$dist/$name/forgewatch"
cp -r README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT config docs systemd "$dist/$name"
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$dist" -c "$name" |
  gzip -9n >"$dist/$name.tar.gz"

packaging/image.sh "$dist/image"
if command -v buildah >/dev/null; then
  # Neither steps nor storage need a running engine.
  build=(buildah --storage-driver vfs)
  "${build[@]}" build --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" --tag "forgewatch:$version" \
    --file packaging/Containerfile "$dist/image"
  "${build[@]}" push "forgewatch:$version" "oci-archive:$dist/forgewatch-$version-image.tar:forgewatch:$version"
else
  echo "skipped: the image needs buildah"
fi

# What the program is made of.
cargo cyclonedx --format json --target "$target" --override-filename "forgewatch-$version.cdx" >/dev/null
mv "forgewatch-$version.cdx.json" "$dist/"
rm -f crates/*/"forgewatch-$version.cdx.json"

rm -rf "$dist"/{stage,image} "${dist:?}/$name"
(cd "$dist" && sha256sum -- * >SHA256SUMS)
ls -l "$dist"
