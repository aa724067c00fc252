#!/bin/bash
# Boots this system once more in a temporary container, with additional files laid over it. It becomes systemd-nspawn, or
# exits with 77 and a reason if this is impossible.
#
#   unshare --mount --propagation private boot.sh FOLDER [GROUP]...
#
# FOLDER/files is laid over /, and FOLDER/machine becomes the container's root. The container enters the control GROUPs,
# which its systemd uses as roots. All mounts belong to this mount namespace and disappear with it. Writes go to memory.
set -euo pipefail
folder=$1
shift

cannot() { echo "$*" >&2 && exit 77; }
[ -x /lib/systemd/systemd ] || cannot "/lib/systemd/systemd not found"
command -v systemd-nspawn >/dev/null || cannot "systemd-nspawn not found; install the package systemd-container"

mount -t tmpfs -o mode=0755 tmpfs "$folder/machine" || cannot "cannot mount a tmpfs"
mkdir "$folder"/machine/{root,upper,work}
root=$folder/machine/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/machine/upper,workdir=$folder/machine/work" overlay "$root" ||
  cannot "cannot mount an overlay of /"

# Only forgewatch-test.target is started: no units that the machine has enabled, and none from generators for fstab and
# kernel command line.
rm -rf "$root"/{etc,usr/lib}/systemd/system/*.{wants,requires} "$root"/{etc,usr/lib}/systemd/system-generators
# On a machine that is a container itself, packages may not start and stop services.
rm -f "$root/usr/sbin/policy-rc.d"
# Its own journal, state and machine ID. Without a machine ID it would assume a first boot and enable the distribution's
# presets.
rm -rf "$root/var/log/journal" "$root/var/lib/private" "$root/var/lib/forgewatch"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
cat >"$root/etc/systemd/system/forgewatch-test.target" <<'UNIT'
[Unit]
Description=The minimum for a service
DefaultDependencies=no
Requires=systemd-journald.socket systemd-journald.service
After=systemd-journald.socket systemd-journald.service
AllowIsolate=yes
UNIT
cp -a "$folder/files/." "$root/"

for group; do
  echo $$ >"$group/cgroup.procs"
done

# Not registered with machined and not in its own scope, as both need D-Bus. Its network is only a loopback device.
exec systemd-nspawn --quiet --register=no --keep-unit --machine="${folder##*/}" --directory="$root" --boot \
  --notify-ready=yes --console=pipe --link-journal=no --private-network -- systemd.unit=forgewatch-test.target systemd.show_status=no
