"""The disk image that a virtual machine boots from to become a node, made from the pinned components.

It holds a kernel from the distribution, busybox, the components and the add-ons' images, already unpacked: a machine
needs no registry and no installation. No system is installed into it: the first process is busybox's init, which
brings up the network and runs what the machine's seed says (`boot.sh`), a script as cloud-init would run it too.

Nothing is mounted or run as root for it, besides that files in it belong to root: the file system is filled when it is
made (`mke2fs -d`).
"""

from joiner.machineimage.building import MachineImage, machine_image
from joiner.machineimage.kernels import Kernel, distribution_kernel

__all__ = ["Kernel", "MachineImage", "distribution_kernel", "machine_image"]
