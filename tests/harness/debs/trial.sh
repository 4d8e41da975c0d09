#!/bin/sh
# Goes through the life of the package on a system that is thrown away. /trial holds the packages
# a.deb, b.deb (a later release), broken.deb (which lacks its wheels),
# other.deb (for another Python), stuck.deb (whose service does not start), keys, data and
# device.toml. Says "TRIAL ok|failed NAME SECONDS" after each step, and goes on.
# Usage: trial.sh chroot|booted
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
WHERE=$1
SERVER=$(cat /trial/server)

# What must fail.
PRE='refused() { if "$@"; then echo "this should have failed: $*"; exit 9; fi; }'

step() {
	name=$1
	shift
	began=$(date +%s)
	if sh -euc "$PRE; $1" >/trial/out 2>&1; then
		result=ok
	else
		result=failed
		sed 's/^/    /' /trial/out | tail -n 12
	fi
	cat /trial/out >>/trial/log
	echo "TRIAL $result $name $(($(date +%s) - began))"
}

current() { echo "readlink /opt/slfac/current | grep -qx $1"; }
AGENT="setpriv --reuid=slfac --regid=slfac --init-groups env HOME=/var/lib/slfac"
A=versions/$(cat /trial/a.version)
B=versions/$(cat /trial/b.version)

. /etc/os-release
if [ "$WHERE" = booted ]; then
	step room 'resize2fs /dev/vda'
	step install 'dpkg --install /trial/a.deb'
else
	step install 'apt-get install --yes --no-install-recommends /trial/a.deb'
fi
echo "TRIAL system $PRETTY_NAME, $(uname -m), $(python3 -V), systemd $(dpkg-query -Wf '${Version}' systemd 2>/dev/null)"
step version "test \"\$(slfac --version)\" = 'slfac $(cat /trial/a.release)'; $(current "$A")"
step 'files-are-dpkgs' 'dpkg --verify slfac-device; dpkg --search /usr/bin/slfac'
step 'nothing-of-images' 'test ! -e /usr/lib/systemd/system/slfac-growroot.service'
step enabled 'systemctl is-enabled slfac-device.service; systemctl is-enabled slfac-firstboot.service'
step verify-unit 'systemd-analyze verify slfac-device.service slfac-firstboot.service 2>&1 |
	tee /trial/verify; test ! -s /trial/verify'
step settings 'install -m 644 /trial/device.toml /etc/slfac/
	install -o slfac -g slfac -m 600 /trial/keys/* /etc/slfac/keys/
	mkdir -p /var/lib/slfac/data; cp -r /trial/data/. /var/lib/slfac/data/'
step doctor "$AGENT slfac doctor --keys /etc/slfac/keys --server $SERVER --cache /var/lib/slfac/cache"
if [ "$WHERE" = booted ]; then
	step start 'systemctl start slfac-device.service; systemctl is-active slfac-device.service'
	# A run that has ended is followed by the next start.
	step trained 'until [ "$(systemctl show -P NRestarts slfac-device.service)" -ge 1 ]; do
			sleep 2; done; journalctl -u slfac-device.service'
	step waits-for-the-next-run 'until systemctl is-active slfac-device.service; do sleep 2; done'
else
	step trained "$AGENT slfac device --config /etc/slfac/device.toml"
fi
step update '/usr/bin/slfac update /trial/b.deb'
step updated "$(current "$B"); test \"\$(slfac --version)\" = 'slfac $(cat /trial/b.release)'
	cmp /trial/device.toml /etc/slfac/device.toml; slfac update --list"
head -c 20000000 /trial/b.deb >/trial/cut.deb
step cut-short-is-refused "refused slfac update /trial/cut.deb; $(current "$B")"
step other-python-is-refused "refused slfac update /trial/other.deb; $(current "$B")"
step broken-is-refused "refused slfac update /trial/broken.deb; $(current "$B")
	dpkg --audit | tee /trial/audit; test ! -s /trial/audit"
step broken-by-dpkg-is-refused "refused dpkg --install /trial/broken.deb; $(current "$B")
	slfac --version"
step repaired "dpkg --install /trial/b.deb; $(current "$B"); dpkg --audit | tee /trial/audit
	test ! -s /trial/audit"
if [ "$WHERE" = booted ]; then
	step runs-on 'until systemctl is-active slfac-device.service; do sleep 2; done'
	step does-not-start "refused slfac update /trial/stuck.deb; $(current "$B")
		until systemctl is-active slfac-device.service; do sleep 2; done"
	step repaired-again "dpkg --install /trial/b.deb; $(current "$B")"
fi
step rollback "slfac update --rollback; $(current "$A")"
step two-are-kept 'test "$(ls /opt/slfac/versions | wc -l)" = 2'
step remove 'dpkg --remove slfac-device; test ! -e /opt/slfac; test ! -e /usr/bin/slfac
	test -s /etc/slfac/device.toml; test ! -e /usr/lib/slfac/layer'
step purge 'dpkg --purge slfac-device; test ! -e /etc/slfac; ls /var/lib/slfac/data/*
	test ! -e /var/lib/slfac/cache; refused ls /etc/systemd/system/multi-user.target.wants/slfac-*'
if [ "$WHERE" = booted ]; then
	step no-process-left 'refused pgrep --full "[/]opt/slfac"'
fi
echo "TRIAL end"
