# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# A guest reaches into its own children, not into its supervisor or other processes of its user.
. "$STAGE/e2e/lib.sh"

small_image small "$STAGE/e2e/reach"
try "$KAPSEL" run --rm "$T/small.kapsel" -- "$STAGE/e2e/reach" 0
expect_out "pidfd_open: yes
process_vm_readv: yes
process_vm_writev: yes
read: secret
attach: yes
seize: yes" "a child"
none="pidfd_open: ESRCH
pidfd_getfd: ESRCH
process_vm_readv: ESRCH
process_vm_writev: ESRCH
attach: ESRCH
seize: ESRCH"
try "$KAPSEL" run --rm "$T/small.kapsel" -- "$STAGE/e2e/reach"
expect_out "$none" "the supervisor"
sleep 60 &
try "$KAPSEL" run --rm "$T/small.kapsel" -- "$STAGE/e2e/reach" $!
expect_out "$none" "another process"
kill $!
finish
