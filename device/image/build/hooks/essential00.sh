#!/bin/sh
# Emulated, each of these takes minutes, and packages would run them again and again: they run once
# in the end, or on the machine that builds.
set -eu
for program in update-initramfs depmod; do
	chroot "$1" dpkg-divert --quiet --local --rename --divert "/usr/sbin/$program.real" --add "/usr/sbin/$program"
	printf '#!/bin/sh\nexit 0\n' >"$1/usr/sbin/$program"
	chmod 755 "$1/usr/sbin/$program"
done
# raspi-firmware would write a config.txt and cmdline.txt of its own; the image has ours.
mkdir -p "$1/etc/default"
echo 'ENABLED=no' >"$1/etc/default/raspi-firmware"
