#!/usr/bin/env bash
# Makes the layer that every sandbox has over this machine: what targets would install from the network.
#     image.sh IMAGE        # an ext4 file that holds the upper folder of an overlay; this machine stays as it is
set -euo pipefail
IMAGE=$1
NEW=$IMAGE.new
PACKAGES=(acl attr bzip2 cron debconf-utils dpkg-dev equivs faketime git libfaketime libfile-fcntllock-perl libuser
    locales openssl python3-debian python3-jinja2 python3-packaging python3-pip python3-setuptools python3-virtualenv
    python3-wheel python3-yaml rsync subversion sudo unzip xz-utils zip)

if [ "${2:-}" != inside ]; then
    rm -f "$NEW"
    truncate -s 4G "$NEW"
    mkfs.ext4 -q -F "$NEW"
    unshare --mount --pid --fork --kill-child --uts --ipc "$0" "$IMAGE" inside
    mv "$NEW" "$IMAGE"
    exit
fi

mount --make-rprivate /
top=$(mktemp -d)
mount -o loop "$NEW" "$top"
mkdir "$top/upper" "$top/work" "$top/root"
root=$top/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
chroot "$root" env -u PYTHONDONTWRITEBYTECODE DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -euo pipefail -s "${PACKAGES[@]}" <<'EOF'
# What the tests say of the machine's Python is said of a machine where pip may install.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
apt-get -q update
apt-get install -qy "$@"
# Targets download packages to look at them, and find git as Debian has it.
rm -rf /usr/local/bin/git /usr/local/share/git-core /etc/apt/apt.conf.d/docker-clean
apt-get install -qy --download-only --reinstall zip unzip
/usr/bin/python3 -m pip install -q passlib pexpect
echo en_US.UTF-8 UTF-8 >>/etc/locale.gen
locale-gen >/dev/null
EOF
umount -R "$root" || umount -lR "$root"
sync
umount "$top" || umount -l "$top"
