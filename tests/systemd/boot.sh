#!/bin/bash
# Boots the system that runs here once more, in a throw-away container, with more files laid over it: becomes
# systemd-nspawn, and ends with 77 and a reason where that cannot be.
#
#   unshare --mount --propagation private boot.sh FOLDER [GROUP]...
#
# FOLDER/files holds what is laid over /, FOLDER/machine becomes the container's root; it enters the control GROUPs,
# which the container's systemd takes for the roots of its own. All mounts are this mount
# namespace's and gone with it, so nothing is left behind however it ends. What is written goes to memory.
set -euo pipefail
folder=$1
shift

cannot() { echo "$*" >&2 && exit 77; }
[ -x /lib/systemd/systemd ] || cannot "there is no systemd to boot: /lib/systemd/systemd"
command -v systemd-nspawn >/dev/null || cannot "there is no systemd-nspawn; the package is systemd-container"

mount -t tmpfs -o mode=0755 tmpfs "$folder/machine" || cannot "no tmpfs can be mounted"
mkdir "$folder"/machine/{root,upper,work}
root=$folder/machine/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/machine/upper,workdir=$folder/machine/work" overlay "$root" ||
  cannot "no overlay of / can be mounted"

# Nothing starts by itself but what forgewatch.target asks for: neither what the machine has enabled nor what
# generators make of its fstab and kernel command line.
rm -rf "$root"/{etc,usr/lib}/systemd/system/*.{wants,requires} "$root"/{etc,usr/lib}/systemd/system-generators
# A journal, a state and an identity of its own. Without one it would think this its first boot, and enable what the
# distribution presets.
rm -rf "$root/var/log/journal" "$root/var/lib/private" "$root/var/lib/forgewatch"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
cat >"$root/etc/systemd/system/forgewatch-test.target" <<'UNIT'
[Unit]
Description=No more than a service needs
DefaultDependencies=no
Requires=systemd-journald.socket systemd-journald.service
After=systemd-journald.socket systemd-journald.service
AllowIsolate=yes
UNIT
cp -a "$folder/files/." "$root/"

for group; do
  echo $$ >"$group/cgroup.procs"
done

# Neither registered with a machine manager nor in a scope of its own: both would take a D-Bus that may not be there.
# Its network is a loopback device of its own.
exec systemd-nspawn --quiet --register=no --keep-unit --machine="${folder##*/}" --directory="$root" --boot \
  --notify-ready=yes --console=pipe --link-journal=no --private-network -- systemd.unit=forgewatch-test.target systemd.show_status=no
