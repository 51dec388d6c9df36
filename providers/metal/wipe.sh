# Wipes every drive at $level and posts what was done to $report_to. Run by the cleaning image, as root, with nothing of
# a drive in use; busybox will do. Without a proof the host is not used again, so whatever goes wrong ends this.
set -eu
nothing() { [ "$(tr -d '\0' | wc -c)" -eq 0 ]; }
zeros() { # DEVICE FIRST COUNT: in MiB
  dd if=/dev/zero of="$1" bs=1048576 seek="$2" count="$3" conv=notrunc 2>/dev/null
}
metadata() { # DEVICE MEBIBYTES: partition tables and signatures lie at both ends
  ends=16
  [ "$2" -gt 32 ] || ends=$2
  zeros "$1" 0 "$ends"
  zeros "$1" $(($2 - ends)) "$ends"
}
erase() { # DEVICE NAME: by the drive's own command, which reaches spare blocks too
  case $2 in
    nvme*) nvme format "$1" --ses=1 --force >/dev/null ;;
    *)
      hdparm --user-master u --security-set-pass wiping "$1" >/dev/null
      hdparm --user-master u --security-erase wiping "$1" >/dev/null
      ;;
  esac
}
said=
for path in /sys/block/*; do
  name=${path##*/}
  case $name in loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd*) continue ;; esac
  size=$(($(cat "$path/size") / 2048)) # MiB; the kernel counts sectors of 512 bytes
  if [ "$size" -eq 0 ] || [ "$(cat "$path/ro")" != 0 ] || [ "$(cat "$path/removable")" != 0 ]; then continue; fi
  case $level in
    metadata) metadata "/dev/$name" "$size" ;;
    full) zeros "/dev/$name" 0 "$size" ;;
    secure-erase) erase "/dev/$name" "$name" ;;
    *) exit 1 ;;
  esac
  sync
  dd if="/dev/$name" bs=1048576 count=1 2>/dev/null | nothing
  dd if="/dev/$name" bs=1048576 skip=$((size - 1)) count=1 2>/dev/null | nothing
  serial=$(cat "$path/serial" "$path/device/serial" 2>/dev/null | head -n 1 | tr -cd 'A-Za-z0-9._-')
  said="$said, \"drive $name${serial:+ $serial}\": \"$size MiB, $level\""
done
proof="{\"level\": \"$level\"$said}"
until wget -q -O - --header 'Content-Type: application/json' --post-data "$proof" "$report_to"; do sleep 1; done
