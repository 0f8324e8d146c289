# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Kernels that lack something, and administrators who forbid it: a clear refusal, or what is documented; never less than was asked for.
. "$STAGE/e2e/lib.sh"

small_image small
shim=$STAGE/e2e/old-kernel
on() { # LACK COMMAND...
  lack=$1
  shift
  try "$shim" "$lack" "$@"
}
doctor() { # FEATURE yes|no: does what it says of it fit, and of the whole?
  on "$lack" "$KAPSEL" doctor
  if grep -qE "^$1 +NO" "$T/out" && { if [ "$2" = yes ]; then [ "$status" = 0 ]; else [ "$status" = 125 ]; fi; }; then
    ok "$lack: doctor says so"
  else
    not_ok "$lack: doctor: exit $status" "$T/out" "$T/err"
  fi
}
refused() { # LACK FEATURE REGEX
  for level in portable strict; do
    on "$1" "$KAPSEL" run --rm --level $level small.kapsel -- /bin/true
    expect_status 125 "$1: refused at level $level"
    expect_err_line "^kapsel: .*$3" "$1: with a reason"
    if grep -q '^hint: ' "$T/err"; then ok "$1: and a hint"; else not_ok "$1: no hint" "$T/err"; fi
  done
  doctor "$2" no
}
runs() { # LACK [FEATURE]
  for level in portable strict; do
    on "$1" "$KAPSEL" run --rm --level $level small.kapsel -- /bin/sh -c 'cat /etc/greeting; cd /etc; echo more >>greeting; (cat ./greeting)'
    expect_out "hello from the image
hello from the image
more" "$1: programs run at level $level"
  done
  [ $# = 1 ] || doctor "$2" yes
}
refused landlock landlock 'Landlock ABI . is needed, it has 0'
refused landlock-on landlock 'Landlock ABI . is needed, it has 0'
refused notify seccomp-notify 'the filter cannot be installed'
refused free-listener seccomp-notify 'a listener is installed already'
refused addfd seccomp-addfd 'no descriptors can be put into programs'
refused ptrace ptrace 'ptrace: programs cannot be looked into'
refused memory process-vm-readv 'process_vm_readv: programs cannot be looked into'
runs sync-wake-up sync-wake-up
runs wait-killable wait-killable
runs pidfd_getfd pidfd-getfd
runs mseal
runs openat2

# Where addresses cannot be acted on, strict refuses them.
on pidfd_getfd "$KAPSEL" run --rm --net loopback small.kapsel -- /bin/true
expect_status 0 "pidfd_getfd: the loopback alone needs none"
on pidfd_getfd "$KAPSEL" run --rm --net connect=80 small.kapsel -- /bin/true
expect_status 125 "pidfd_getfd: a network that needs it is refused"
finish
