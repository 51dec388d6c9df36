#!/bin/sh
# What init does first: the kernel's file systems, the network by DHCP, and what the seed says (NoCloud: a volume with
# the label cidata; its user data is a script).
export PATH=/opt/autonodes/bin:/bin
exec >/dev/console 2>&1
umask 022
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
ln -sf /proc/self/fd /dev/fd
for module in virtio_net virtio_rng overlay br_netfilter isofs; do modprobe -q $module; done
resize2fs /dev/vda >/dev/null 2>&1 &
ip link set lo up
udhcpc -i eth0 -q -n -t 20 -T 1 -s /etc/udhcpc.sh >/dev/null || echo "autonodes: no address by DHCP"
seed=$(findfs LABEL=cidata)
if [ -n "$seed" ] && mkdir -p /run/seed && mount -t iso9660 -o ro,mode=0400,dmode=0500 "$seed" /run/seed; then
  hostname "$(sed -n 's/^local-hostname: *//p' /run/seed/meta-data)"
  hostname >/etc/hostname
  sh /run/seed/user-data || echo "autonodes: the seed's script failed"
  umount /run/seed
else
  echo "autonodes: no seed"
fi
