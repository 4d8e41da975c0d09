#!/bin/sh
# The kernel's modules and its initial RAM disk; then what differs from build to build goes.
set -eu
for program in update-initramfs depmod; do
	rm "$1/usr/sbin/$program"
	chroot "$1" dpkg-divert --quiet --local --rename --remove "/usr/sbin/$program"
done
release=$(ls "$1/lib/modules")
depmod -b "$1" "$release"

# What a root file system lies on: cards and sticks of a Raspberry Pi, and QEMU's disks.
cat >"$1/etc/initramfs-tools/modules" <<'MODULES'
ext4
mmc_block
bcm2835
sdhci_iproc
sdhci_brcmstb
usb_storage
uas
xhci_pci
pcie_brcmstb
reset_raspberrypi
dwc2
virtio_pci
virtio_mmio
virtio_blk
MODULES
sed -i -e 's/^MODULES=.*/MODULES=list/' -e 's/^COMPRESS=.*/COMPRESS=zstd/' \
	"$1/etc/initramfs-tools/initramfs.conf"
chroot "$1" update-initramfs -c -k "$release"

chroot "$1" dpkg-query --show --showformat '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' \
	>"$1/usr/share/slfac-packages.tsv"
rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/* "$1"/etc/ssh/ssh_host_* \
	"$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old "$1"/var/cache/ldconfig/aux-cache
find "$1/usr/lib" -name __pycache__ -prune -exec rm -rf '{}' +
: >"$1/etc/machine-id"
rm -f "$1/etc/hostname" "$1/etc/resolv.conf"
# It was installed from a copy of the archives that only this build has; the image has its own list.
rm -rf "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/*
