#!/bin/sh
# Nothing of the base can run: what packages' own programs would make is made by this machine's.
set -eu
release=$(ls "$1/usr/lib/modules")
cp "$1/usr/lib/modules/$release/vmlinuz" "$1/boot/vmlinuz-$release"
printf 'this would be a RAM disk\n' >"$1/boot/initrd.img-$release"
for deb in $MMDEBSTRAP_ESSENTIAL; do
	dpkg-deb --show --showformat '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' "$1/$deb"
done | sort >"$1/usr/share/slfac-packages.tsv"
rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/var/cache/apt/*.bin
