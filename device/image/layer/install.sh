# Puts a layer into a system: part of scripts that say where the system is ($root, empty for the
# one that runs) and end by themselves if a function fails. POSIX, with GNU tar and coreutils.
# Whenever it is cut short, what was there still works, and the next run begins anew.

complain() {
	printf 'slfac: %s\n' "$*" >&2
	return 1
}

# install_layer ARCHIVE SHA256 VERSION NEEDED_KB
install_layer() {
	home=$root/opt/slfac
	stage=$home/.install
	told=$(sha256sum <"$1") || return 1
	[ "${told%% *}" = "$2" ] || complain "$1 is damaged: write the image, or fetch it, again" || return 1
	mkdir -p "$home/versions" && rm -rf "$stage" "$stage.tar" || return 1
	prune_versions
	free_kb=$(df -Pk "$home" | awk 'NR == 2 { print $4 }')
	[ "$free_kb" -ge "$4" ] ||
		complain "$home needs $4 kB, $free_kb kB are free: $(($4 - free_kb)) kB are missing" || return 1
	mkdir "$stage" && tar --extract --gzip --numeric-owner --file="$1" --directory="$stage" || return 1
	sync
	place_version "$3" "$2" || return 1
	rm -rf "$stage/opt"
	(cd "$stage" && tar --create --numeric-owner --file="$stage.tar" -- *) || return 1
	tar --list --file="$stage.tar" | grep -v '/$' >"$home/files.new" || return 1
	tar --extract --preserve-permissions --numeric-owner --no-overwrite-dir \
		--keep-directory-symlink --file="$stage.tar" --directory="$root/" || return 1
	mv "$home/files.new" "$home/files.txt" || return 1
	switch_to "$placed" && rm -rf "$stage" "$stage.tar" && sync
}

# prune_versions: as `slfac update` does, all but the one that runs and the one before
prune_versions() {
	for found in "$home/versions"/* "$home/versions"/.[!.]*; do
		name=${found##*/}
		name=${name#.}
		case ${name%.sha256} in
		"$(basename "$(readlink "$home/current")")" | "$(basename "$(readlink "$home/previous")")") ;;
		*) rm -rf "$found" ;;
		esac
	done
}

# place_version VERSION SHA256: only what is whole gets the name under which it is looked for, which
# is then in $placed. The same release from other sources, which may run, stays beside it.
place_version() {
	placed=$1
	number=0
	while [ -d "$home/versions/$placed" ]; do
		[ "$(cat "$home/versions/.$placed.sha256" 2>/dev/null)" != "$2" ] || return 0
		number=$((number + 1))
		placed=$1.$number
	done
	mv "$stage/opt/slfac/versions/$1" "$home/versions/$placed" &&
		printf '%s\n' "$2" >"$home/versions/.$placed.sha256"
}

# switch_to VERSION: the running agent keeps its files until it is started again
switch_to() {
	before=$(readlink "$root/opt/slfac/current")
	if [ -n "$before" ] && [ "$before" != "versions/$1" ]; then
		link_to "$before" previous || return 1
	fi
	link_to "versions/$1" current
}

# link_to TARGET NAME: by one rename
link_to() {
	ln -sfn "$1" "$root/opt/slfac/.$2.new" && mv -T "$root/opt/slfac/.$2.new" "$root/opt/slfac/$2"
}

systemd_runs() {
	[ -d /run/systemd/system ]
}

# The agent's user, its folders, the rules for sensors, and the units: where the system runs.
wake_layer() {
	[ -z "$root" ] || return 0
	systemd-sysusers /usr/lib/sysusers.d/slfac.conf || return 1
	systemd-tmpfiles --create /usr/lib/tmpfiles.d/slfac.conf
	# In a chroot or container the next start of the system does the rest.
	systemd_runs || return 0
	udevadm control --reload
	udevadm trigger --action=add --subsystem-match=hwmon --subsystem-match=iio \
		--subsystem-match=powercap --subsystem-match=i2c-dev
	udevadm trigger --action=add --sysname-match=vcio
	systemctl daemon-reload
}
