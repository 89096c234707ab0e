# Sourced by /init of the agent and of the hello image: file systems, drivers, consoles.

mount_all() {
  mount -t proc -o nosuid,nodev,noexec proc /proc
  mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
  mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
  mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
  [ ! -d /sys/firmware/efi/efivars ] ||
    mount -t efivarfs -o nosuid,nodev,noexec,ro efivarfs /sys/firmware/efi/efivars 2>/dev/null
  mkdir -m 0700 /run/muster
}

# One modprobe for all devices there are: each start of a program costs more than what it does.
load_drivers() {
  aliases=$(cat /sys/bus/*/devices/*/modalias 2>/dev/null | sort -u)
  [ "$aliases" != "$known_aliases" ] || return 0
  known_aliases=$aliases
  # One word each, by design.
  # shellcheck disable=SC2086
  modprobe -q -a -b $aliases 2>/dev/null
}

# Buses behind buses (USB, SoC) show their devices late.
watch_drivers() {
  for pause in 0 1 1 1 2 2 3 3 5 5 5 10 10 20; do
    sleep "$pause"
    load_drivers
  done
}

# One line to every console that the kernel writes to: the screen and the serial port.
say() {
  for console in $(cat /sys/class/tty/console/active); do
    printf '%s\n' "$*" >"/dev/$console"
  done 2>/dev/null
}
