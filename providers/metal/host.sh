# What is done on a host that is always on, through its shell's standard input: one of the functions NAME_host is called
# after this. $programs: where the components are; $script: what makes the host a node.
set -eu
umask 077
state=${script%/*}
left="/var/lib/kubelet /var/lib/containerd /run/containerd /run/kubelet /etc/kubernetes /etc/containerd /etc/cni/net.d
  /var/lib/cni /var/log/pods /var/log/containers $state"

facts_host() {
  echo "uuid=$(cat /sys/class/dmi/id/product_uuid 2>/dev/null || cat /etc/machine-id)"
  echo "name=$(hostname)"
  echo "system=$(uname -srm)"
  [ -x "$programs/kubelet" ] && [ -x "$programs/containerd" ] ||
    { echo "$programs has no kubelet or no containerd: install the components" >&2; exit 1; }
}

# The node's programs and the processes of its pods, a number each.
ours() {
  for process in /proc/[0-9]*; do
    case $(readlink "$process/exe" 2>/dev/null || :) in "$programs"/*) echo "${process#/proc/}" ;; esac
  done
  find /sys/fs/cgroup/kubepods* /sys/fs/cgroup/*/kubepods* -name cgroup.procs -exec cat {} + 2>/dev/null |
    grep -vx 0 || : # 0 is a process that can't be seen from here
}

power_host() {
  if [ -n "$(ours)" ] || [ -e "$state/group" ]; then echo On; else echo Off; fi
}

put_host() { mkdir -p "$state"; }

start_host() {
  [ -e "$script" ] || { echo "there is nothing to start" >&2; exit 1; }
  setsid sh -c '
    echo $$ >"$1/group"
    sh "$1/user-data" &&
      for archive in "$2/../images"/*.tar; do
        [ ! -e "$archive" ] || "$2/ctr" -n k8s.io images import "$archive"
      done
    wait' start "$state" "$programs" >>/var/log/autonodes.log 2>&1 </dev/null &
}

stop_host() {
  if [ -d /run/systemd/system ]; then
    for unit in /etc/systemd/system/autonodes-*.service; do
      [ ! -e "$unit" ] || { systemctl disable --now "${unit##*/}"; rm "$unit"; }
    done
  fi
  if [ -e "$state/group" ]; then kill -s KILL -- "-$(cat "$state/group")" 2>/dev/null || :; fi
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    running=$(ours)
    [ -n "$running" ] || break
    kill -s KILL $running 2>/dev/null || :
    sleep 0.2
  done
  [ -n "$(ours)" ] || rm -f "$state/group"
}

eject_host() { rm -rf "$state"; }

reset_host() {
  [ -z "$(ours)" ] || { echo "something of a node still runs" >&2; exit 1; }
  for directory in $left; do
    awk -v under="$directory" 'index($2 "/", under "/") == 1 { print $2 }' /proc/mounts | sort -r |
      while read -r place; do umount -l "$(printf '%b' "$place")"; done
    rm -rf --one-file-system "$directory"
    [ ! -e "$directory" ] || { echo "$directory can't be removed" >&2; exit 1; }
  done
  for link in cni0 flannel.1; do ip link delete "$link" 2>/dev/null || :; done
  echo "{\"level\": \"metadata\", \"removed\": \"$(echo $left)\"}"
}
