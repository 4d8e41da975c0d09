# cloud-init runs this at each boot, before the network: it does nothing once the layer is installed.
# As vendor-data it stays when somebody, or Raspberry Pi Imager, writes a user-data of their own.
root=${1:-}
boot=$root/boot/firmware/slfac
done_file=$root/var/lib/slfac-install/$sha256
[ ! -e "$done_file" ] || exit 0

tell() {
	printf 'slfac: %s\n' "$*"
}

tell "installing $version, once"
install() {
	install_layer "$boot/layer.tar.gz" "$sha256" "$version" "$needed_kb" && wake_layer
}
if said=$(install 2>&1); then
	mkdir -p "${done_file%/*}" && : >"$done_file" && sync
	rm -f "$boot/error.txt"
	tell "$version is installed"
else
	tell "${said:-the layer cannot be installed}"
	printf '%s\n' "${said:-the layer cannot be installed}" >"$boot/error.txt"
	exit 1
fi
# Not waited for: they wait for parts of this boot that may be waiting for cloud-init.
[ -n "$root" ] || systemctl --no-block start slfac-firstboot.service slfac-device.service
