# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Store and instances lie on a file system mounted noexec: programs of the image and those a guest makes run all the same.
. "$STAGE/e2e/lib.sh"

[ "$(id -u)" = 0 ] || skip_rest "only root can mount"
if ! unshare -m true 2>/dev/null; then skip_rest "mounts cannot be made here"; fi
small_image small /bin/cp /bin/mv /bin/chmod /bin/readlink
chmod 0755 "$T"

inside() {
  # shellcheck disable=SC2016 # for the inner shell
  try unshare -m sh -c '
    mount -t tmpfs -o noexec none "$HOME" && export XDG_CACHE_HOME="$HOME/cache" KAPSEL_STORE="$HOME/store" || exit 99
    cp /bin/true "$HOME/probe" && "$HOME/probe" 2>/dev/null && exit 98
    shift; exec "$@"' sh sh "$KAPSEL" run --rm "$T/small.kapsel" -- "$@"
  if [ "$status" = 99 ]; then skip_rest "no file system can be mounted here"; fi
}

inside /bin/cat /etc/greeting
expect_out "hello from the image" "a program of the image"
inside /bin/sh -c 'cp /bin/cat /mine; /mine /etc/greeting; mv /mine /other; cd /; ./other /etc/greeting'
expect_out "hello from the image
hello from the image" "a program that a guest made"
inside /bin/sh -c 'cp /bin/readlink /mine; /mine /proc/self/exe; chmod a-x /mine; /mine x || echo $?'
expect_out "/mine
126" "it has its own name, and its mode counts"
inside /bin/sh -c 'lib=$(readlink -f /lib64/ld-linux-x86-64.so.2); cp $lib /new; mv /new $lib; cat /etc/greeting'
expect_out "hello from the image" "a library that a guest replaced"
finish
