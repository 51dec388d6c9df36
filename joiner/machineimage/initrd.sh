#!/bin/busybox sh
# The first process, out of the initrd: what the root disk needs, and on to it. The list of modules is filled in when it
# is built.
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
# a hypervisor that asks whether its acceleration works: a kernel that gets here has its answer
case " $(cat /proc/cmdline) " in *" autonodes.probe "*) poweroff -f ;; esac
for module in @MODULES@; do insmod "/modules/$module"; done
# the disk shows up some milliseconds after its driver; its size is the size of the file system, see `boot.sh`
until [ -b /dev/vda ]; do usleep 10000; done
# without noinit_itable the kernel would write gigabytes of zeros in the background, in every machine
mount -t ext4 -o noatime,noinit_itable /dev/vda /root
umount /proc
mount -o move /dev /root/dev
exec switch_root /root /sbin/init
