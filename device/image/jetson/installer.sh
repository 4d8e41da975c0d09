# Installs slfac on a Jetson: on the one that this runs on, or into a root file system.
usage() {
	cat <<-'USAGE'
		usage: sudo sh INSTALLER [--settings FILE] [--gpu-wheel FILE] [--nvpmodel MODE]
		       sudo sh INSTALLER --uninstall [--purge]

		Installs slfac for this Jetson's Python below /opt/slfac. Run it again to update: the old release
		stays until the new one is whole.

		  --settings FILE   device.json of this board; `slfac image jetson` can put one in here
		  --gpu-wheel FILE  onnxruntime-gpu of yours for this JetPack; it is taken if it computes on
		                    this GPU what the CPU does, else the CPU's stays
		  --nvpmodel MODE   power mode at each start; `nvpmodel -p --verbose` lists them
		  --uninstall       remove it; keys and settings stay, unless --purge
		  --root DIR        a root file system instead of this system

		example: sudo sh slfac-jetson.run --nvpmodel 0
	USAGE
}

die() {
	printf 'slfac: %s\n' "$*" >&2
	exit 1
}

tell() {
	printf 'slfac: %s\n' "$*"
}

root='' settings='' gpu_wheel='' mode='' action=install purge=no
while [ $# -gt 0 ]; do
	case $1 in
	--help | -h) usage && exit 0 ;;
	--uninstall) action=uninstall ;;
	--purge) purge=yes ;;
	--settings | --gpu-wheel | --nvpmodel | --root)
		[ $# -ge 2 ] || die "$1 lacks its value; --help says more"
		case $1 in
		--settings) settings=$2 ;;
		--gpu-wheel) gpu_wheel=$2 ;;
		--nvpmodel) mode=$2 ;;
		--root) root=$(cd "$2" && pwd) || die "$2 is no folder" ;;
		esac
		shift
		;;
	*) die "unknown option $1; --help lists them" ;;
	esac
	shift
done
for file in "$settings" "$gpu_wheel"; do
	[ -z "$file" ] || [ -f "$file" ] || die "$file is no file"
done
[ "$root" != / ] || root=''
case $mode in *[!0-9]*) die "--nvpmodel is $mode: give a number; nvpmodel -p --verbose lists them" ;; esac
[ -n "$root" ] || [ "$(id -u)" = 0 ] || die "only root can install: run it with sudo"

# What is not in this list was there before, or is the user's.
uninstall() {
	[ -f "$root/opt/slfac/files.txt" ] || die "slfac is not installed"
	if [ -z "$root" ] && systemd_runs; then
		systemctl disable --now slfac-device.service slfac-firstboot.service slfac-nvpmodel.service
	fi
	while IFS= read -r file; do
		rm -f "$root/$file"
	done <"$root/opt/slfac/files.txt"
	rm -rf "$root/opt/slfac"
	if [ "$purge" = yes ]; then
		rm -rf "$root/etc/slfac" "$root/var/lib/slfac" "$root/var/lib/slfac-firstboot"
	fi
	[ -n "$root" ] || ! systemd_runs || systemctl daemon-reload
	tell "slfac is removed"
}

if [ "$action" = uninstall ]; then
	uninstall
	exit 0
fi

# Which Python, and is it this machine's?
[ -f "$root/etc/nv_tegra_release" ] ||
	die "this is no Jetson: there is no $root/etc/nv_tegra_release"
python=$(readlink "$root/usr/bin/python3") || die "there is no $root/usr/bin/python3"
abi=cp$(printf '%s' "${python##*python}" | tr -d .)
machine=$(od -An -tx1 -j18 -N1 "$root/usr/bin/${python##*/}" | tr -d ' ')
[ "$machine" = b7 ] || die "$python is not for 64-bit ARM"
layer=$(printf '%s\n' "$layers" | grep "^$abi ") ||
	die "this installer has no layer for $python, only: $(printf '%s\n' "$layers" | cut -d' ' -f1 | tr '\n' ' ')"
# shellcheck disable=SC2086 # words of our own, without spaces in them
set -- $layer
version=$2 at=$3 size=$4 sha256=$5 needed_kb=$6

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# cut_out AT SIZE: what lies behind this script
cut_out() {
	tail -c "+$1" "$0" | head -c "$2"
}
tell "unpacking $version"
cut_out "$at" "$size" >"$work/layer.tar.gz" || exit 1
install_layer "$work/layer.tar.gz" "$sha256" "$version" "$needed_kb" || exit 1
wake_layer || exit 1

# put_gpu_wheel FILE: a version of its own beside the CPU's, which stays
put_gpu_wheel() {
	fresh=$root/opt/slfac/versions/.gpu
	rm -rf "$fresh" && cp -a "$root/opt/slfac/versions/$placed" "$fresh" || return 1
	rm -rf "$fresh"/lib/onnxruntime "$fresh"/lib/onnxruntime-*.dist-info
	python3 -m zipfile -e "$1" "$fresh/lib" || complain "$1 is no wheel" || return 1
	[ -d "$fresh/lib/onnxruntime" ] || complain "$1 has no onnxruntime in it" || return 1
	chmod -R a+rX "$fresh/lib"
	if [ -z "$root" ]; then
		tried=$(python3 -s "$root/usr/lib/slfac/try_provider.py" "$fresh/lib") ||
			complain "${tried:-it cannot be started}" || return 1
		tell "$tried"
	fi
	# What `slfac update --rollback` compares it with.
	python3 -I "$root/usr/lib/slfac/describe.py" "$fresh" "$version-gpu" || return 1
	sync
	rm -rf "$root/opt/slfac/versions/$version-gpu"
	mv "$fresh" "$root/opt/slfac/versions/$version-gpu" && switch_to "$version-gpu" && sync
}

if [ -n "$gpu_wheel" ]; then
	case ${gpu_wheel##*/} in
	*-"$abi"-*aarch64.whl) ;;
	*) die "${gpu_wheel##*/} is not for $abi on aarch64; slfac is installed, for the CPU" ;;
	esac
	if ! put_gpu_wheel "$gpu_wheel"; then
		rm -rf "$root/opt/slfac/versions/.gpu"
		tell "the CPU computes, not the GPU"
	fi
fi

if [ -z "$settings" ] && [ "$settings_size" -gt 0 ]; then
	(umask 077 && cut_out "$settings_at" "$settings_size" >"$work/device.json") || exit 1
	settings=$work/device.json
fi
if [ -n "$settings" ]; then
	mkdir -p "$root/boot/firmware/slfac"
	(umask 077 && cp "$settings" "$root/boot/firmware/slfac/device.json") || exit 1
fi
if [ -n "$mode" ]; then
	mkdir -p "$root/etc/slfac" && printf 'MODE=%s\n' "$mode" >"$root/etc/slfac/nvpmodel.conf" || exit 1
fi
sync
if [ -n "$root" ]; then
	tell "$version is in $root"
	exit 0
fi
if ! systemd_runs; then
	tell "$version is installed; it starts with the system"
	exit 0
fi
systemctl enable slfac-device.service slfac-firstboot.service slfac-nvpmodel.service 2>/dev/null
systemctl restart slfac-firstboot.service
[ -z "$mode" ] || systemctl restart slfac-nvpmodel.service
# It starts only once it has settings.
systemctl --no-block restart slfac-device.service
tell "$version is installed; what follows is slfac doctor"
slfac doctor
exit $?
